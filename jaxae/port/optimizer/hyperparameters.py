"""Optimizers that both frameworks have, with torch's hyperparameters and optax's chains."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import optax
from jax.typing import ArrayLike

from jaxae.errors import InputError, brief
from jaxae.port.optimizer.transformations import scale_by_torch_amsgrad, scale_by_torch_rss

_Chain = optax.GradientTransformation


def _chain(weight_decay: float, lr: float | optax.Schedule, *steps: optax.GradientTransformation) -> _Chain:
    """Steps on a gradient with an L2 term, scaled by a learning rate."""
    decay = [optax.add_decayed_weights(weight_decay)] if weight_decay else []
    return optax.chain(*decay, *steps, optax.scale_by_learning_rate(lr))


@dataclass(frozen=True)
class Adam:
    """torch.optim.Adam and its arguments; its weight decay is an L2 term in the gradient."""

    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False
    counts: ClassVar[bool] = True  # whether torch counts its steps

    @property
    def moments(self) -> tuple[str, ...]:
        """Names of what torch keeps of each parameter."""
        return ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if self.amsgrad else ()))

    def _scale(self) -> optax.GradientTransformation:
        if self.amsgrad:
            return scale_by_torch_amsgrad(*self.betas, self.eps)
        return optax.scale_by_adam(*self.betas, eps=self.eps)

    def optax(self) -> optax.GradientTransformation:
        """The chain that takes the same steps."""
        return _chain(self.weight_decay, self.lr, self._scale())


@dataclass(frozen=True)
class AdamW(Adam):
    """torch.optim.AdamW and its arguments; its weight decay is apart from the moments."""

    weight_decay: float = 1e-2

    def optax(self) -> optax.GradientTransformation:
        """The chain that takes the same steps."""
        return _chain(0.0, self.lr, self._scale(), optax.add_decayed_weights(self.weight_decay))


@dataclass(frozen=True)
class SGD:
    """torch.optim.SGD and its arguments, without dampening."""

    lr: float
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    counts: ClassVar[bool] = False

    @property
    def moments(self) -> tuple[str, ...]:
        """Names of what torch keeps of each parameter."""
        return ("momentum_buffer",) if self.momentum else ()

    def optax(self) -> optax.GradientTransformation:
        """The chain that takes the same steps."""
        trace = [optax.trace(self.momentum, self.nesterov)] if self.momentum else []
        return _chain(self.weight_decay, self.lr, *trace)


@dataclass(frozen=True)
class RMSprop:
    """torch.optim.RMSprop and its arguments."""

    lr: float = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False
    counts: ClassVar[bool] = True

    @property
    def moments(self) -> tuple[str, ...]:
        """Names of what torch keeps of each parameter."""
        average = ("grad_avg",) if self.centered else ()
        return ("square_avg", *average, *(("momentum_buffer",) if self.momentum else ()))

    def optax(self) -> optax.GradientTransformation:
        """The chain that takes the same steps."""
        scale = optax.scale_by_stddev if self.centered else optax.scale_by_rms
        trace = [optax.trace(self.momentum)] if self.momentum else []
        # A schedule, for its count: torch has one, which changes no step.
        return _chain(self.weight_decay, lambda _: self.lr, scale(self.alpha, self.eps, eps_in_sqrt=False), *trace)


@dataclass(frozen=True)
class Adagrad:
    """torch.optim.Adagrad and its arguments."""

    lr: float = 1e-2
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps: float = 1e-10
    moments: ClassVar[tuple[str, ...]] = ("sum",)
    counts: ClassVar[bool] = True

    def optax(self) -> optax.GradientTransformation:
        """The chain that takes the same steps."""

        def rate(count: ArrayLike) -> ArrayLike:
            return self.lr / (1 + count * self.lr_decay)

        scale = scale_by_torch_rss(self.initial_accumulator_value, self.eps)
        return _chain(self.weight_decay, rate, scale)


@dataclass(frozen=True)
class Lion:
    """Lion as lion-pytorch and timm have it, for torch itself has none; its weight decay is apart from the moment."""

    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    moments: ClassVar[tuple[str, ...]] = ("exp_avg",)
    counts: ClassVar[bool] = False

    def optax(self) -> optax.GradientTransformation:
        """The chain that takes the same steps."""
        return optax.lion(self.lr, *self.betas, weight_decay=self.weight_decay)


TorchOptimizer = Adam | AdamW | SGD | RMSprop | Adagrad | Lion


class Group(NamedTuple):
    """Parameters that one optimizer trains.

    Attributes:
        settings: The optimizer's hyperparameters.
        names: torch's names of the parameters, in its order.
        frozen: Those of them that stay as they are.
        beside: What schedulers and libraries wrote into the param_group, which changes no step.
    """

    settings: TorchOptimizer
    names: tuple[str, ...]
    frozen: tuple[str, ...] = ()
    beside: Mapping[str, Any] = MappingProxyType({})


_KINDS = {kind.__name__: kind for kind in (Adam, AdamW, SGD, RMSprop, Adagrad, Lion)}
# What must be off, for optax has no counterpart; and what says how torch computes, not what.
_OFF = ("maximize", "dampening", "caution")
_SILENT = {"params", "param_names", "foreach", "fused", "capturable", "differentiable"}
_READ = {*_OFF, *_SILENT, "decoupled_weight_decay"}
# What schedulers (OneCycleLR, CyclicLR, SWALR) and libraries keep for themselves.
_BESIDE = {"initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum", "swa_lr"}
_BESIDE |= {"lr_scale", "lr_mult", "name", "group_name"}
# Why some optimizers do not port, though optax has one of their name.
_OTHERS = {
    "NAdam": ": torch's weighs the momentum by a schedule (momentum_decay), optax.nadam by a constant",
    "RAdam": ": torch adds epsilon before the bias is corrected, optax.radam after",
}


def read_beside(group: Mapping[str, Any], settings: TorchOptimizer) -> dict[str, Any]:
    """What one of torch's param_groups holds beside its optimizer's own arguments."""
    own = {field.name for field in fields(settings)} | _READ
    torchs = {"amsgrad", "nesterov"}  # arguments of torch's that others of the table have
    return {name: value for name, value in group.items() if name not in own | torchs}


def read_group(group: Mapping[str, Any], kind: str | None = None, *, is_torchs: bool = False) -> TorchOptimizer:
    """The optimizer of one of torch's param_groups.

    Args:
        group: The group, as in an optimizer's state_dict.
        kind: The class's name where it is known. Adam and AdamW write the same entries before torch 2.7, so a group
            with weight decay needs it.
        is_torchs: Whether it is certain that the class is torch's own, which reads no arguments but those it has.

    Raises:
        InputError: If optax has no such optimizer; it names the option.
    """
    for option in _OFF:
        if group.get(option):
            raise InputError(f"expected options that optax has, got {option}={brief(group[option])}")
    kind = kind or _kind(group)
    if kind == "Adam" and group.get("decoupled_weight_decay"):
        kind = "AdamW"
    if kind not in _KINDS:
        known = ", ".join(_KINDS)
        raise InputError(f"expected an optimizer of {known}, got {kind}{_OTHERS.get(kind, '')}")
    names = [field.name for field in fields(_KINDS[kind])]
    if not is_torchs and (unknown := sorted(set(group) - {*names, *_READ, *_BESIDE})):
        remedy = f"say kind={kind!r} if it is torch's own and they are notes of yours"
        raise InputError(f"expected options of {kind} that port, got {brief(', '.join(unknown), 200)}: {remedy}")
    given = {"weight_decay": 0.0, "amsgrad": False, **group}
    try:
        return _KINDS[kind](**{name: _plain(name, given[name]) for name in names})
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:  # torch's is the last
        raise InputError(f"expected numbers for {', '.join(names)}, got another: {brief(error, 120)}") from error


def _plain(name: str, value: Any) -> Any:
    """A hyperparameter as a Python number, which torch may hold in a tensor; betas are two."""
    if name == "betas":
        first, second = map(float, value)
        return first, second
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
    for kind in (RMSprop, Adagrad):
        if {field.name for field in fields(kind)} <= set(group):
            return kind.__name__
    return f"an optimizer with {brief(', '.join(sorted(set(group) - _SILENT)), 200)}"


def torch_group(settings: TorchOptimizer) -> dict[str, Any]:
    """A torch param_group with these hyperparameters and torch's defaults for the rest."""
    if isinstance(settings, Lion):  # torch has no such class to ask
        return asdict(settings)
    import torch

    empty = torch.nn.Parameter(torch.zeros(()))
    made = getattr(torch.optim, type(settings).__name__)([empty], **asdict(settings))
    return {name: value for name, value in made.state_dict()["param_groups"][0].items() if name != "params"}
