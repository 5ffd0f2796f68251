"""Optimizers that both frameworks have, with torch's hyperparameters and optax's chains."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import optax

from jaxae.errors import InputError


@dataclass(frozen=True)
class Adam:
    """torch.optim.Adam: weight decay is an L2 term in the gradient."""

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
    """torch.optim.AdamW: weight decay is apart from the moments, scaled by the learning rate."""

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
    """torch.optim.SGD without dampening."""

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


Optimizer = Adam | AdamW | SGD


class Group(NamedTuple):
    """Parameters that one optimizer trains: its hyperparameters, and torch's names in order."""

    settings: Optimizer
    names: tuple[str, ...]


# How torch computes, not what.
_SILENT = {"params", "param_names", "foreach", "fused", "capturable", "differentiable"}


def read_group(group: Mapping[str, Any], kind: str | None = None) -> Optimizer:
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
            raise InputError(f"torch's {option} is refused: optax's optimizers have none")
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
        if group.get("dampening"):
            raise InputError("torch's dampening is refused: optax's momentum has none")
        momentum, nesterov = float(group["momentum"]), bool(group["nesterov"])
        return SGD(float(group["lr"]), momentum, nesterov, weight_decay)
    raise InputError(f"torch's {kind} is refused: Adam, AdamW and SGD are ported")


def _check_keys(kind: str, group: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(group) - known)
    if unknown:
        raise InputError(f"torch's {kind} has options that are not ported: {', '.join(unknown)}")


def _kind(group: Mapping[str, Any]) -> str:
    if "decoupled_weight_decay" in group:
        return "AdamW" if group["decoupled_weight_decay"] else "Adam"
    if {"betas", "eps", "amsgrad"} <= set(group):
        if group.get("weight_decay"):
            raise InputError("expected kind='Adam' or kind='AdamW': a state_dict with weight decay "
                             "does not tell them apart")  # fmt: skip
        return "Adam"
    if {"momentum", "dampening", "nesterov"} <= set(group):
        return "SGD"
    return f"optimizer with {', '.join(sorted(set(group) - _SILENT))}"


def torch_group(settings: Optimizer) -> dict[str, Any]:
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
