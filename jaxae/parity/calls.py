"""Calls: what each submodule of a network was given and gave, recorded in a forward pass."""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx


class Call(NamedTuple):
    """One call of a submodule.

    Attributes:
        path: Dotted path of the submodule below the network, which itself is "". A second call of
            the same submodule is "path#2".
        kind: Name of the submodule's class.
        inputs: Arrays among the arguments, in order, in the framework's own layout.
        outputs: Arrays in the result.
    """

    path: str
    kind: str
    inputs: list[np.ndarray]
    outputs: list[np.ndarray]


def record_torch(module: Any, call: Callable[[Any], Any]) -> tuple[Any, list[Call]]:
    """Call a torch module; its result, and the calls of all its submodules as they ended."""
    calls: list[Call] = []
    numbered = _Numbering()
    handles = []
    begun: list[list[np.ndarray]] = []

    # Inputs are noted before the call, which may overwrite them (ReLU(inplace=True)).
    def begin(_: Any, args: tuple, kwargs: dict) -> None:
        begun.append(_arrays((args, kwargs)))

    for path, submodule in module.named_modules():

        def end(sub: Any, _: Any, result: Any, path: str = path) -> None:
            name = type(sub).__name__
            calls.append(Call(numbered(path), name, begun.pop(), _arrays(result)))

        handles.append(submodule.register_forward_pre_hook(begin, with_kwargs=True))
        handles.append(submodule.register_forward_hook(end))
    try:
        return call(module), calls
    finally:
        for handle in handles:
            handle.remove()


def record_nnx(module: nnx.Module, call: Callable[[Any], Any]) -> tuple[Any, list[Call]]:
    """Call an NNX module in one compiled program; its result and the calls that ended.

    The module is left alone: a clone is called, each of whose submodules is an instance of its own
    subclass that notes down its calls.
    """
    calls: list[Call] = []
    numbered = _Numbering()
    clone = nnx.clone(module)
    for path, submodule in list(nnx.iter_modules(clone)):
        if callable(submodule):
            _note_calls(submodule, ".".join(map(str, path)), calls, numbered)
    graph, state = nnx.split(clone)

    @jax.jit
    def run(state: nnx.State) -> Any:
        result = call(nnx.merge(graph, state))
        return result, [(noted.inputs, noted.outputs) for noted in calls]

    result, arrays = jax.device_get(run(state))
    found = [one._replace(inputs=i, outputs=o) for one, (i, o) in zip(calls, arrays, strict=True)]
    return result, found


def _note_calls(submodule: nnx.Module, path: str, calls: list[Call], numbered: "_Numbering") -> None:
    kind: Any = type(submodule)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        inputs = _arrays((args, kwargs))
        result = kind.__call__(self, *args, **kwargs)
        calls.append(Call(numbered(path), kind.__name__, inputs, _arrays(result)))
        return result

    noting = type(kind)(kind.__name__, (kind,), {"__call__": call})
    object.__setattr__(submodule, "__class__", noting)


class _Numbering:
    """Tells the calls of one submodule apart."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def __call__(self, path: str) -> str:
        self._seen[path] += 1
        return path if self._seen[path] == 1 else f"{path}#{self._seen[path]}"


def _arrays(tree: Any) -> list[Any]:
    """Floating arrays among the leaves: labels and flags are no numbers to compare."""
    leaves = [_from_torch(leaf) if hasattr(leaf, "detach") else leaf for leaf in jax.tree.leaves(tree)]
    return [leaf for leaf in leaves if _is_float(leaf)]


def _from_torch(leaf: Any) -> np.ndarray:
    leaf = leaf.detach().cpu()
    # NumPy has no bfloat16.
    leaf = leaf.float() if leaf.is_floating_point() and leaf.itemsize < 4 else leaf
    # A copy: an in-place operation would change what was noted.
    return np.array(leaf.numpy())


def _is_float(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating)
