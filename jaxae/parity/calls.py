"""Calls: what each submodule of a network was given and gave, recorded in a forward pass."""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

if TYPE_CHECKING:
    import torch


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


def record_torch(module: "torch.nn.Module", call: Callable[[Any], Any]) -> tuple[Any, list[Call]]:
    """Call a torch module; its result, and the calls of all its submodules as they ended."""
    calls: list[Call] = []
    begun: list[list[np.ndarray]] = []

    # Inputs are noted before the call, which may overwrite them (ReLU(inplace=True)).
    def begin(_: Any, args: tuple, kwargs: dict) -> None:
        begun.append(_arrays((args, kwargs)))

    def end(path: str, submodule: Any, _: Any, result: Any) -> None:
        calls.append(Call(path, type(submodule).__name__, begun.pop(), _arrays(result)))

    with ExitStack() as hooks:
        for path, submodule in module.named_modules():
            hooks.enter_context(submodule.register_forward_pre_hook(begin, with_kwargs=True))
            hooks.enter_context(submodule.register_forward_hook(partial(end, path)))
        return call(module), _numbered(calls)


def record_nnx(module: nnx.Module, call: Callable[[Any], Any]) -> tuple[Any, list[Call]]:
    """Call an NNX module in one compiled program; its result and the calls that ended.

    The module is left alone: a clone is called, each of whose submodules is an instance of its own
    subclass that notes down its calls.
    """
    calls: list[Call] = []
    clone = nnx.clone(module)
    for path, submodule in list(nnx.iter_modules(clone)):
        if callable(submodule):
            _note_calls(submodule, ".".join(map(str, path)), calls)
    graph, state = nnx.split(clone)

    @jax.jit
    def run(state: nnx.State) -> Any:
        result = call(nnx.merge(graph, state))
        return result, [(noted.inputs, noted.outputs) for noted in calls]

    result, arrays = jax.device_get(run(state))
    found = [one._replace(inputs=i, outputs=o) for one, (i, o) in zip(calls, arrays, strict=True)]
    return result, _numbered(found)


def _note_calls(submodule: nnx.Module, path: str, calls: list[Call]) -> None:
    kind: Any = type(submodule)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        inputs = _arrays((args, kwargs))
        result = kind.__call__(self, *args, **kwargs)
        calls.append(Call(path, kind.__name__, inputs, _arrays(result)))
        return result

    noting = type(kind)(kind.__name__, (kind,), {"__call__": call})
    object.__setattr__(submodule, "__class__", noting)


def _numbered(calls: list[Call]) -> list[Call]:
    """The calls with those of one submodule told apart."""
    seen: Counter[str] = Counter()
    for index, call in enumerate(calls):
        seen[call.path] += 1
        if seen[call.path] > 1:
            calls[index] = call._replace(path=f"{call.path}#{seen[call.path]}")
    return calls


def _arrays(tree: Any) -> list[Any]:
    """Floating arrays among the leaves: labels and flags are no numbers to compare."""
    leaves = [_from_torch(leaf) if hasattr(leaf, "detach") else leaf for leaf in jax.tree.leaves(tree)]
    return [leaf for leaf in leaves if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)]


def _from_torch(leaf: Any) -> np.ndarray:
    leaf = leaf.detach().cpu()
    # NumPy has no bfloat16.
    leaf = leaf.float() if leaf.is_floating_point() and leaf.itemsize < 4 else leaf
    # A copy: an in-place operation would change what was noted.
    return np.array(leaf.numpy())
