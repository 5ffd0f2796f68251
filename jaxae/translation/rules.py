"""The rules: what writes each of torch's functions and layers, by their names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxae.translation.layers.reparametrised import Raw, raw, remedy
from jaxae.translation.writer import Holes, Out, RefusedError, Tensor, Writer


def _call_last(w: Writer, layer: str, x: Tensor) -> Out:
    return Out(f"{layer}({w.last(x)})", last=x.ndim >= 3)


def call_plain(w: Writer, layer: str, x: Tensor) -> Out:
    """Call a layer that takes torch's axes as they are."""
    return Out(f"{layer}({w.plain(x)})")


@dataclass(frozen=True)
class LayerCode:
    """How a torch layer is written.

    Attributes:
        new: The expression that makes it; "" for what keeps nothing, which is written as a function.
        call: Writes a call of it, given the writer, the expression of the layer and the arguments of torch's forward.
        channels: Whether it takes channels at the end.
        weights: For tensors of the layer that are read from outside: expressions that give them in torch's layout,
            with a gap for the layer, "{}.kernel[...].T".
    """

    new: str = ""
    call: Callable[..., Any] = call_plain
    channels: bool = False
    weights: Mapping[str, str] = field(default_factory=dict)


def channels_last(new: str, weights: Mapping[str, str] | None = None) -> LayerCode:
    """A layer that takes one tensor, with channels at the end, and gives such."""
    return LayerCode(new, _call_last, channels=True, weights=weights or {})


@dataclass(frozen=True)
class _Function:
    write: Callable[..., Any]
    channels: bool


FUNCTIONS: dict[str, _Function] = {}
LAYERS: dict[str, Callable[[Holes, Any], LayerCode]] = {}


def function(*names: str, channels: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register what writes a function of torch: given a `Writer`, then torch's arguments by torch's names.

    It gives an `Out`, or a tuple of them, or an `Out` with an expression of a tuple where `torch` gives several.

    Args:
        *names: Short names, as torch's functions, a tensor's methods and torch.nn.functional's share them.
        channels: Whether its first argument has channels at the end.
    """

    def register(write: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            FUNCTIONS[name] = _Function(write, channels)
        return write

    return register


def layer(
    *kinds: str, norms: bool = False
) -> Callable[[Callable[[Holes, Any], LayerCode]], Callable[[Holes, Any], LayerCode]]:
    """Register what writes a layer of torch.nn: given where constants go, and the layer.

    Args:
        *kinds: Names of its classes.
        norms: Whether it is written within a norm of its weight too.
    """

    def register(write: Callable[[Holes, Any], LayerCode]) -> Callable[[Holes, Any], LayerCode]:
        def rule(holes: Holes, module: Any) -> LayerCode:
            try:
                if (norm := raw(module)) is not Raw.PLAIN and not norms:
                    raise RefusedError(f"has a {norm.value}; {remedy(norm)}")
                return write(holes, module)
            except RefusedError as error:
                return LayerCode(call=_refusing(str(error)))

        for kind in kinds:
            LAYERS[kind] = rule
        return write

    return register


def _refusing(why: str) -> Callable[..., Any]:
    """The call of a layer that cannot be written."""

    def call(*_: Any, **__: Any) -> Out:
        raise RefusedError(why)

    return call


def layer_rule(module: object) -> Callable[[Holes, Any], LayerCode] | None:
    """The rule for a module: torch's own layers alone, for a class that extends one may do something else."""
    kind, name = type(module), type(module).__name__
    if kind.__module__ == "torch.nn.utils.parametrize":  # its class, made by torch when it got a parametrization
        kind, name = kind.__mro__[1], name.removeprefix("Parametrized")
    return LAYERS.get(name) if kind.__module__.partition(".")[0] == "torch" else None
