"""Optimizers that both frameworks have, with torch's hyperparameters and optax's chains."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import optax

from jaxae.errors import InputError


@dataclass(frozen=True)
class Adam:
    """torch.optim.Adam, whose weight decay is an L2 term in the gradient.

    Attributes:
        lr: Learning rate.
        betas: Decay rates of the moments.
        eps: Term added to the denominator.
        weight_decay: Weight decay.
    """

    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    torch_name: ClassVar[str] = "Adam"
    moments: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")

    def optax(self) -> optax.GradientTransformation:
        """The chain that takes the same steps."""
        decay = [optax.add_decayed_weights(self.weight_decay)] if self.weight_decay else []
        adam = optax.scale_by_adam(*self.betas, eps=self.eps)
        return optax.chain(*decay, adam, optax.scale_by_learning_rate(self.lr))


@dataclass(frozen=True)
class AdamW:
    """torch.optim.AdamW, whose weight decay is apart from the moments, times the learning rate.

    Attributes:
        lr: Learning rate.
        betas: Decay rates of the moments.
        eps: Term added to the denominator.
        weight_decay: Weight decay.
    """

    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-2

    torch_name: ClassVar[str] = "AdamW"
    moments: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")

    def optax(self) -> optax.GradientTransformation:
        """The chain that takes the same steps."""
        return optax.adamw(self.lr, *self.betas, eps=self.eps, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class SGD:
    """torch.optim.SGD without dampening.

    Attributes:
        lr: Learning rate.
        momentum: Momentum.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: Weight decay, an L2 term in the gradient.
    """

    lr: float
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    torch_name: ClassVar[str] = "SGD"

    @property
    def moments(self) -> tuple[str, ...]:
        """Names of what torch keeps of each parameter."""
        return ("momentum_buffer",) if self.momentum else ()

    def optax(self) -> optax.GradientTransformation:
        """The chain that takes the same steps."""
        decay = [optax.add_decayed_weights(self.weight_decay)] if self.weight_decay else []
        trace = [optax.trace(self.momentum, self.nesterov)] if self.momentum else []
        return optax.chain(*decay, *trace, optax.scale_by_learning_rate(self.lr))


TorchOptimizer = Adam | AdamW | SGD


class Group(NamedTuple):
    """Parameters that one optimizer trains.

    Attributes:
        settings: The optimizer's hyperparameters.
        names: torch's names of the parameters, in its order.
    """

    settings: TorchOptimizer
    names: tuple[str, ...]


# How torch computes, not what.
_SILENT = {"params", "param_names", "foreach", "fused", "capturable", "differentiable"}


def read_group(group: Mapping[str, Any], kind: str | None = None) -> TorchOptimizer:
    """The optimizer of one of torch's param_groups.

    Args:
        group: The group, as in an optimizer's state_dict.
        kind: The class's name where it is known. Adam and AdamW write the same entries before torch
            2.7, so a group with weight decay needs it.

    Raises:
        InputError: If optax has no such optimizer, naming the option.
    """
    for option in ("amsgrad", "maximize"):
        if group.get(option):
            raise InputError(f"expected options that optax has, got {option}=True")
    kind = kind or _kind(group)
    known = {"lr", "weight_decay", "amsgrad", "maximize", "initial_lr"} | _SILENT
    weight_decay = float(group.get("weight_decay", 0.0))
    if kind in ("Adam", "AdamW"):
        _check_keys(kind, group, known | {"betas", "eps", "decoupled_weight_decay"})
        decoupled = group.get("decoupled_weight_decay")
        if kind == "Adam" and decoupled:
            kind = "AdamW"
        made = AdamW if kind == "AdamW" else Adam
        one, two = (float(beta) for beta in group["betas"])
        return made(float(group["lr"]), (one, two), float(group["eps"]), weight_decay)
    if kind == "SGD":
        _check_keys(kind, group, known | {"momentum", "dampening", "nesterov"})
        dampening = group.get("dampening")
        if dampening:
            raise InputError(f"expected options that optax has, got dampening={dampening}")
        momentum, nesterov = float(group["momentum"]), bool(group["nesterov"])
        return SGD(float(group["lr"]), momentum, nesterov, weight_decay)
    raise InputError(f"expected Adam, AdamW or SGD, got {kind}")


def _check_keys(kind: str, group: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(group) - known)
    if unknown:
        raise InputError(f"expected options of {kind} that port, got {', '.join(unknown)}")


def _kind(group: Mapping[str, Any]) -> str:
    if "decoupled_weight_decay" in group:
        return "AdamW" if group["decoupled_weight_decay"] else "Adam"
    if {"betas", "eps", "amsgrad"} <= set(group):
        if group.get("weight_decay"):
            raise InputError(
                "expected kind='Adam' or kind='AdamW', got a state_dict with weight decay, which "
                "does not tell them apart"
            )
        return "Adam"
    if {"momentum", "dampening", "nesterov"} <= set(group):
        return "SGD"
    return f"optimizer with {', '.join(sorted(set(group) - _SILENT))}"


def torch_group(settings: TorchOptimizer) -> dict[str, Any]:
    """A torch param_group with these hyperparameters and torch's defaults for the rest."""
    import torch

    empty = [torch.nn.Parameter(torch.zeros(()))]
    lr, weight_decay = settings.lr, settings.weight_decay
    if isinstance(settings, SGD):
        made = torch.optim.SGD(
            empty, lr, settings.momentum, weight_decay=weight_decay, nesterov=settings.nesterov
        )
    else:
        kind = torch.optim.AdamW if isinstance(settings, AdamW) else torch.optim.Adam
        made = kind(empty, lr, settings.betas, settings.eps, weight_decay)
    group = made.state_dict()["param_groups"][0]
    del group["params"]
    return group
