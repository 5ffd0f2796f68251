"""Optimizers that both frameworks have, with torch's hyperparameters and optax's chains."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, NamedTuple

import optax

from jaxae.errors import InputError


@dataclass(frozen=True)
class Adam:
    """torch.optim.Adam and its arguments; its weight decay is an L2 term in the gradient."""

    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    moments: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")

    def optax(self) -> optax.GradientTransformation:
        """The chain that takes the same steps."""
        decay = [optax.add_decayed_weights(self.weight_decay)] if self.weight_decay else []
        adam = optax.scale_by_adam(*self.betas, eps=self.eps)
        return optax.chain(*decay, adam, optax.scale_by_learning_rate(self.lr))


@dataclass(frozen=True)
class AdamW(Adam):
    """torch.optim.AdamW and its arguments; its weight decay is apart from the moments."""

    weight_decay: float = 1e-2

    def optax(self) -> optax.GradientTransformation:
        """The chain that takes the same steps."""
        return optax.adamw(self.lr, *self.betas, eps=self.eps, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class SGD:
    """torch.optim.SGD and its arguments, without dampening."""

    lr: float
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

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


_KINDS = {kind.__name__: kind for kind in (Adam, AdamW, SGD)}
# What must be off, for optax has no counterpart; and what says how torch computes, not what.
_OFF = ("amsgrad", "maximize", "dampening")
_SILENT = {"params", "param_names", "foreach", "fused", "capturable", "differentiable"}
_READ = {*_OFF, *_SILENT, "decoupled_weight_decay", "initial_lr"}


def read_group(group: Mapping[str, Any], kind: str | None = None) -> TorchOptimizer:
    """The optimizer of one of torch's param_groups.

    Args:
        group: The group, as in an optimizer's state_dict.
        kind: The class's name where it is known. Adam and AdamW write the same entries before torch 2.7, so a group
            with weight decay needs it.

    Raises:
        InputError: If optax has no such optimizer; it names the option.
    """
    for option in _OFF:
        if group.get(option):
            raise InputError(f"expected options that optax has, got {option}={group[option]}")
    kind = kind or _kind(group)
    if kind == "Adam" and group.get("decoupled_weight_decay"):
        kind = "AdamW"
    if kind not in _KINDS:
        raise InputError(f"expected Adam, AdamW or SGD, got {kind}")
    names = [field.name for field in fields(_KINDS[kind])]
    if unknown := sorted(set(group) - {*names, *_READ}):
        raise InputError(f"expected options of {kind} that port, got {', '.join(unknown)}")
    given = {"weight_decay": 0.0, **group}
    return _KINDS[kind](**{name: _plain(given[name]) for name in names})


def _plain(value: Any) -> Any:
    """A hyperparameter as a Python number, which torch may hold in a tensor, or a pair of them."""
    if isinstance(value, tuple | list):
        return tuple(map(float, value))
    return value if isinstance(value, bool) else float(value)


def _kind(group: Mapping[str, Any]) -> str:
    if "decoupled_weight_decay" in group:
        return "AdamW" if group["decoupled_weight_decay"] else "Adam"
    if {"betas", "eps", "amsgrad"} <= set(group):
        if group.get("weight_decay"):
            expected = "expected kind='Adam' or kind='AdamW'"
            raise InputError(f"{expected}, got a state_dict with weight decay, which does not tell them apart")
        return "Adam"
    if {"momentum", "dampening", "nesterov"} <= set(group):
        return "SGD"
    return f"an optimizer with {', '.join(sorted(set(group) - _SILENT))}"


def torch_group(settings: TorchOptimizer) -> dict[str, Any]:
    """A torch param_group with these hyperparameters and torch's defaults for the rest."""
    import torch

    empty = torch.nn.Parameter(torch.zeros(()))
    made = getattr(torch.optim, type(settings).__name__)([empty], **asdict(settings))
    return {name: value for name, value in made.state_dict()["param_groups"][0].items() if name != "params"}
