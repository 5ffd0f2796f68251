"""Calls: what each submodule of a network was given and gave, recorded in a forward pass."""

from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.extend import core as jax_core
from jax.typing import ArrayLike

from jaxae.port.names import join
from torch_ref.calls import Call, narrowest, numbered

if TYPE_CHECKING:
    pass


# The calls that a recorder has noted so far.
_noted: ContextVar[list[Call] | None] = ContextVar("_noted", default=None)
# Path of the NNX module whose call is under way.
_inside: ContextVar[str] = ContextVar("_inside", default="")


def is_loop(call: Call) -> bool:
    """Whether it is a Flax loop over a cell, which is one layer in torch."""
    return call.kind in ("RNN", "Bidirectional")


def record_nnx(module: nnx.Module, call: Callable[[Any], Any]) -> tuple[Any, list[Call]]:
    """Call an NNX module in one compiled program; its result and the calls that ended.

    The module is left alone: a clone is called, each of whose submodules is an instance of its own
    subclass that notes down its calls.
    """
    return NNXRecorder(module, call)(nnx.state(module))


_LARGE = 1_000_000  # elements of a network, above which a program that is not compiled well takes longer to run


def quick_options(module: nnx.Module) -> dict[str, bool | str]:
    """Options for a program that runs a few times on a few rows: compiling it well would take most of the time."""
    elements = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module)) if hasattr(leaf, "size"))
    return {"xla_backend_optimization_level": "1" if elements > _LARGE else "0"}


class NNXRecorder:
    """An NNX module to be called with other states and arguments in one compiled program, its calls noted down.

    What a loop of a program calls is not noted (the cell of an `nnx.RNN`, layers under `nnx.scan`): the loop has one
    trace for all steps.

    Args:
        module: The module, which is left alone: a clone is called.
        call: Call of the module, given it and the arguments.
    """

    def __init__(self, module: nnx.Module, call: Callable[..., Any]):
        calls: list[Call] = []
        inside: list[str] = []
        outermost: list[Any] = []
        clone = nnx.clone(module)
        for path, submodule in list(nnx.iter_modules(clone)):
            if callable(submodule):
                _note_calls(submodule, ".".join(map(str, path)), calls, inside, outermost)
        graph, _ = nnx.split(clone)

        @partial(jax.jit, compiler_options=quick_options(module))
        def run(state: nnx.State, *arguments: Any) -> Any:
            calls.clear()
            inside.clear()
            outermost[:] = [_trace()]
            token = _noted.set(calls)
            try:
                result = call(nnx.merge(graph, state, copy=True), *arguments)
            finally:
                _noted.reset(token)
            return result, [(noted.inputs, noted.outputs) for noted in calls]

        self._run, self._calls = run, calls

    def __call__(self, state: nnx.State, *arguments: ArrayLike) -> tuple[Any, list[Call]]:
        """The result and the calls that ended."""
        result, arrays = jax.device_get(self._run(jax.tree.map(_on_host, state), *arguments))
        found = [one._replace(inputs=i, outputs=o) for one, (i, o) in zip(self._calls, arrays, strict=True)]
        return result, numbered(found)


def _on_host(leaf: Any) -> Any:
    """An array in the host's memory: a program is compiled anew for each mixture of arrays there and on a device."""
    keys = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(leaf) if isinstance(leaf, jax.Array) and not keys else leaf


def _trace() -> object:
    """What JAX traces at present: equal outside of and between transformations, another within one."""
    return jax_core.get_opaque_trace_state(convention="nnx")


def note_call(path: str, kind: str, arguments: object, result: object) -> None:
    """Tell a recorder, if there is one, of the call of Linen's layer at a path below the NNX module that runs it."""
    if (calls := _noted.get()) is not None:
        calls.append(_call(join(_inside.get(), path), kind, _arrays(arguments), result))


def _note_calls(
    submodule: nnx.Module, path: str, calls: list[Call], inside: list[str], outermost: list[object]
) -> None:
    kind: Any = type(submodule)
    loops = isinstance(submodule, nnx.RNN | nnx.Bidirectional)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if inside or outermost != [_trace()]:  # in a loop, a scan or another program of its own
            return kind.__call__(self, *args, **kwargs)
        inputs = _arrays((args, kwargs))
        inside.extend([path] if loops else [])
        token = _inside.set(path)
        try:
            result = kind.__call__(self, *args, **kwargs)
        finally:
            _inside.reset(token)
        if loops:
            inside.clear()
        calls.append(_call(path, kind.__name__, inputs, result))
        return result

    noting = type(kind)(kind.__name__, (kind,), {"__call__": call})
    object.__setattr__(submodule, "__class__", noting)


def _call(path: str, kind: str, inputs: list[Any], result: object) -> Call:
    outputs = _arrays(result)
    return Call(path, kind, inputs, outputs, narrowest([str(one.dtype) for one in inputs + outputs]))


def _arrays(tree: Any) -> list[Any]:
    """Floating arrays among the leaves: labels and flags are no numbers to compare."""
    leaves = jax.tree.leaves(tree)
    return [leaf for leaf in leaves if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)]
