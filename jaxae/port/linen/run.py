"""Runs of a Linen module: in inference mode, in the dtype of its variables, with every layer that is called noted."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from flax.core import tracers
from jaxtyping import PyTree

from jaxae.port.linen.kinds import kind_of
from jaxae.port.linen.variables import Path, leaves_of, unboxed

# Arguments and fields that tell a training pass from an inference pass, as they are in the latter.
_INFERENCE = {
    "train": False,
    "training": False,
    "is_training": False,
    "deterministic": True,
    "use_running_average": True,
}


Rngs = jax.Array | Mapping[str, jax.Array] | None
Method = str | Callable[..., Any] | None


@dataclass(frozen=True)
class LayerCall:
    """One call of a Linen layer.

    Attributes:
        path: Path of its variables.
        layer: The layer, bound; of a loop over a cell the cell.
        loop: Name of the loop's class, if it is one.
        shapes: Shapes of its variables as it sees them, by dotted path below it.
        arguments: What it was given.
        result: What it gave.
        outside: Whether it is called in the trace of the whole, not in a loop's or another transformation's.
    """

    path: Path
    layer: linen.Module
    loop: str
    shapes: Mapping[str, tuple[int, ...]]
    arguments: object
    result: object
    outside: bool


def run(
    module: linen.Module,
    variables: Mapping[str, Any] | None,
    *arguments: object,
    end: Callable[[LayerCall], None] = lambda _: None,
    rngs: Rngs = None,
    method: Method = None,
    **keywords: object,
) -> PyTree:
    """Apply a Linen module in inference mode.

    Args:
        module: The module.
        variables: Its variables. Where they are float64, every layer computes in it. None makes them, and gives them
            beside the result.
        *arguments: Arguments of the call.
        end: Function that is told of each layer that ended.
        rngs: Keys of random streams, as `linen.Module.apply` takes them.
        method: Another method than `__call__`.
        **keywords: Further arguments of the call; `train`, `deterministic` and the like are of inference by default.
    """
    widened = any(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(variables) if hasattr(leaf, "dtype"))
    outside = tracers.current_trace()

    def note(call: Callable[..., Any], args: tuple, kwargs: dict, context: Any) -> Any:
        layer = context.module
        loops = isinstance(layer, linen.RNN)
        # A loop makes its cell's first state by itself, in the cell's dtype.
        with _set(layer, widened=widened), _set(layer.cell if loops else None, widened=widened):
            if context.method_name != "__call__":
                return call(*args, **kwargs)
            loop, one = (type(layer).__name__, layer.cell) if loops else ("", layer)
            there = tracers.current_trace() == outside
            result = call(*args, **kwargs)
            end(LayerCall(one.path, one, loop, _shapes(one), (args, kwargs), result, there))
            return result

    with linen.intercept_methods(note):
        more = _of_inference(module, method, len(arguments)) | keywords
        # Whose own parameters would shadow the types of the call's.
        apply: Callable[..., Any] = module.apply
        if variables is None:
            make: Callable[..., Any] = module.init_with_output
            return make({"params": jax.random.key(0)}, *arguments, method=method, **more)
        return apply(variables, *arguments, rngs=rngs, method=method, mutable=False, **more)


def keep_first(seen: dict[Path, LayerCall], call: LayerCall) -> None:
    """Note the first call of each layer; of a cell the loop's, of what nn.scan or nn.remat made of a layer its own."""
    before = seen.get(call.path)
    if before is None or call.loop or (kind_of(before.layer) is None and kind_of(call.layer) is not None):
        seen[call.path] = call


def _shapes(layer: linen.Module) -> dict[str, tuple[int, ...]]:
    held = {path: leaf for one in layer.variables.values() for path, leaf in leaves_of(one)}
    return {".".join(path): tuple(unboxed(leaf).shape) for path, leaf in held.items()}


def _of_inference(module: linen.Module, method: Method, count: int) -> dict[str, Any]:
    """The arguments of a call that put it in inference mode, beside so many positional ones."""
    named = getattr(type(module), method, None) if isinstance(method, str) else method
    parameters = list(inspect.signature(named or type(module).__call__).parameters)
    open_ = [name for name in parameters[1 + count :] if name in _INFERENCE and getattr(module, name, None) is None]
    return {name: _INFERENCE[name] for name in open_}


def _fields(layer: linen.Module, *, widened: bool) -> dict[str, Any]:
    """Fields that a layer must have for the time of a call."""
    fields = {name: value for name, value in _INFERENCE.items() if getattr(layer, name, None) is (not value)}
    for name in ("dtype", "param_dtype") if widened else ():
        dtype = getattr(layer, name, None)
        if dtype is not None and jnp.issubdtype(dtype, jnp.floating):
            fields[name] = jnp.float64
    return fields


@contextmanager
def _set(layer: linen.Module | None, *, widened: bool) -> Iterator[None]:
    fields = {} if layer is None else _fields(layer, widened=widened)
    before = {name: getattr(layer, name) for name in fields}
    with ExitStack() as stack:
        for name, value in fields.items():
            object.__setattr__(layer, name, value)
            stack.callback(object.__setattr__, layer, name, before[name])
        yield
