"""Calls: what each submodule of a torch network was given and gave, recorded in a forward pass. It imports no torch."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import fields, is_dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch

# Dtypes of floats, from the widest; NumPy has no bfloat16.
FLOATS = ("float64", "float32", "float16", "bfloat16")


class Call(NamedTuple):
    """One call of a submodule.

    Attributes:
        path: Dotted path of the submodule below the network, which itself is "". A second call of
            the same submodule is "path#2".
        kind: Name of the submodule's class.
        inputs: Arrays among the arguments, in order, in the framework's own layout.
        outputs: Arrays in the result.
        dtype: Name of the narrowest dtype of them; "" where it was not noted.
    """

    path: str
    kind: str
    inputs: list[np.ndarray]
    outputs: list[np.ndarray]
    dtype: str = ""


def record_calls(module: "torch.nn.Module", call: Callable[[Any], Any]) -> tuple[Any, list[Call]]:
    """Call a torch module; its result, and the calls of all its submodules as they ended."""
    calls: list[Call] = []
    begun: list[tuple[list[np.ndarray], list[str]]] = []

    # Inputs are noted before the call, which may overwrite them (ReLU(inplace=True)).
    def begin(_: Any, args: tuple, kwargs: dict) -> None:
        begun.append(_floats((args, kwargs)))

    def end(path: str, submodule: Any, _: Any, result: Any) -> None:
        inputs, given = begun.pop()
        outputs, gave = _floats(result)
        calls.append(Call(path, type(submodule).__name__, inputs, outputs, narrowest(given + gave)))

    with ExitStack() as hooks:
        for path, submodule in module.named_modules():
            hooks.enter_context(submodule.register_forward_pre_hook(begin, with_kwargs=True))
            hooks.enter_context(submodule.register_forward_hook(partial(end, path)))
        return call(module), numbered(calls)


def numbered(calls: list[Call]) -> list[Call]:
    """The calls with those of one submodule told apart."""
    seen: Counter[str] = Counter()
    for index, call in enumerate(calls):
        seen[call.path] += 1
        if seen[call.path] > 1:
            calls[index] = call._replace(path=f"{call.path}#{seen[call.path]}")
    return calls


def narrowest(dtypes: list[str]) -> str:
    """The narrowest of the dtypes of floats; "" where there is none."""
    return max((one for one in dtypes if one in FLOATS), key=FLOATS.index, default="")


def leaves(tree: object, path: str = "") -> Iterator[tuple[str, Any]]:
    """The values in a tree of dicts, sequences and dataclasses, each with its dotted path; None is no value.

    The keys of a dict are sorted, as in JAX: of two networks' results the same ones stand in the same places.
    """
    if isinstance(tree, Mapping):
        children = [(str(key), tree[key]) for key in sorted(tree, key=str)]
    elif isinstance(tree, tuple | list):
        names = getattr(tree, "_fields", range(len(tree)))
        children = list(zip(map(str, names), tree, strict=True))
    elif is_dataclass(tree) and not isinstance(tree, type):
        children = [(field.name, getattr(tree, field.name)) for field in fields(tree)]
    else:
        if tree is not None:
            yield path, tree
        return
    for name, child in children:
        yield from leaves(child, f"{path}.{name}" if path else name)


def to_array(tensor: "torch.Tensor") -> np.ndarray:
    """A copy of a tensor on the CPU, narrow floats in float32: what follows may change it in place."""
    tensor = tensor.detach().cpu()
    tensor = tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor
    return np.array(tensor.numpy())


def dtype_name(tensor: "torch.Tensor") -> str:
    """The name of a tensor's dtype, without torch's."""
    return str(tensor.dtype).removeprefix("torch.")


def _floats(tree: object) -> tuple[list[np.ndarray], list[str]]:
    """Floating arrays among the leaves, and their dtypes: labels and flags are no numbers to compare."""
    found = [leaf for _, leaf in leaves(tree) if hasattr(leaf, "detach") and leaf.is_floating_point()]
    return [to_array(one) for one in found], [dtype_name(one) for one in found]
