"""Expressions as text: sizes, functions of one tensor, what tensors start as."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

import torch

from jaxae.translation.graph import Ref, Size, Tree, Value, refs
from jaxae.translation.writer import Holes, RefusedError, Tensor, jax_name
from torch_ref.calls import dtype_name

_SPELT = 16  # elements of a buffer that are written out; what has more is filled with the weights


def shapes_of(tree: Tree, values: Sequence[Value]) -> str:
    """Shapes of the tensors of a tree, in words."""
    shapes = [
        "(" + ", ".join("n" if isinstance(size, Size) else str(size) for size in values[one.index].shape) + ")"
        for one in refs(tree)
    ]
    return " and ".join(shapes) or "nothing"


def size_of(size: Size, tensors: Sequence[Tensor]) -> str | None:
    """An expression for a number that follows the batch: a tensor's size, or a multiple or a part of one."""
    for exact in (True, False):
        for tensor in tensors:
            for axis, dim in enumerate(tensor.shape):
                if not isinstance(dim, Size):
                    continue
                code = f"{tensor.code}.shape[{tensor.order.index(axis)}]"
                if dim == size:
                    return code
                if exact:
                    continue
                factors = {one / other for one, other in zip(size.each, dim.each, strict=True)}
                parts = {other / one if one else 0 for one, other in zip(size.each, dim.each, strict=True)}
                if len(factors) == 1 and (factor := factors.pop()).is_integer():
                    return f"({int(factor)} * {code})"
                if len(parts) == 1 and (part := parts.pop()) and float(part).is_integer():
                    return f"({code} // {int(part)})"
                steps = {one - other for one, other in zip(size.each, dim.each, strict=True)}
                if len(steps) == 1:
                    return f"({code} + {steps.pop()})"
    return None


def accesses(tree: Tree, text: str = "") -> Iterator[tuple[str, Ref]]:
    """The tensors of a tree, each with what reads it out of a variable."""
    if isinstance(tree, Ref):
        yield text, tree
    elif isinstance(tree, Mapping):
        for key, child in tree.items():
            yield from accesses(child, f"{text}[{key!r}]")
    elif isinstance(tree, tuple | list):
        for index, child in enumerate(tree):
            yield from accesses(child, f"{text}[{index}]")


def initial(holes: Holes, tensor: torch.Tensor, parameter: bool) -> str:
    """What a raw parameter or buffer starts as.

    A parameter's are zeros, ones or normal numbers of its deviation; a buffer's are what it is, where that can be said.
    """
    shape = holes.literal(tuple(tensor.shape), "shape")
    values = tensor.detach().cpu()
    kind = dtype_name(values)
    said = "" if kind in ("float32", "float64") else f", {jax_name(kind)}"
    if bool((values == 1).all()):
        return f"jnp.ones({shape}{said})"
    if bool((values == 0).all()):
        return f"jnp.zeros({shape}{said})"
    if parameter and values.numel() > 1 and bool((values == values.flatten()[0]).all()):
        return f"jnp.full({shape}, {holes.literal(float(f'{float(values.flatten()[0]):.6g}'), 'value')})"
    if parameter:
        deviation = float(f"{float(values.double().std()):.2g}") if values.numel() > 1 else 1.0
        return f"({holes.literal(deviation, 'deviation')} * jax.random.normal(rngs.params(), {shape}))"
    for name in ("tril", "triu"):
        for offset in (0, 1, -1):
            whole = torch.ones_like(values)
            if values.ndim >= 2 and torch.equal(getattr(torch, name)(whole, offset), values):
                return f"jnp.{name}(jnp.ones({shape}{said}){f', {offset}' if offset else ''})"
    if values.ndim == 1 and torch.equal(torch.arange(len(values)).to(values), values):
        return f"jnp.arange({holes.literal(len(values), 'length')}, dtype={jax_name(kind) if said else 'float'})"
    if values.numel() <= _SPELT:
        return f"jnp.array({holes.literal(values.tolist(), 'values')}{said})"
    return f"jnp.zeros({shape}{said})"


def numbered(name: str) -> Iterator[str]:
    """A name, and the same with numbers: `h`, `h2`, `h3`."""
    yield name
    yield from (f"{name}{number}" for number in itertools.count(2))


def as_function(code: str) -> str:
    """An expression of `x` as a function: by name where it is a plain call."""
    if code == "x":
        return "nnx.identity"
    if named := re.fullmatch(r"([A-Za-z_][\w.]*)\(x\)", code):
        return named[1]
    more = re.fullmatch(r"([A-Za-z_][\w.]*)\(x, (.*)\)", code)
    if more and not re.search(r"\bx\b", more[2]) and _balanced(more[2]):
        return f"partial({more[1]}, {more[2]})" if _by_name(more[2]) else f"lambda x: {code}"
    return f"lambda x: {code}"


def _by_name(arguments: str) -> bool:
    depth, start = 0, True
    for position, sign in enumerate(arguments):
        if start and not re.match(r"\s*\w+=", arguments[position:]):
            return False
        start = depth == 0 and sign == ","
        depth += (sign in "([{") - (sign in ")]}")
    return True


def _balanced(text: str) -> bool:
    depth = 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        if depth < 0:
            return False
    return depth == 0


def split_call(code: str) -> tuple[str, str, str]:
    """What stands before, in and after the call of a layer."""
    before, _, rest = code.partition("__self__(")
    depth = 1
    for position, sign in enumerate(rest):
        depth += (sign in "([{") - (sign in ")]}")
        if not depth:
            given, after = rest[:position], rest[position + 1 :]
            if "__self__" in given + after or not rest:
                break
            return before, given, after
    raise RefusedError("a layer in a sequence that is called in no plain way")


def no_layers(name: str, code: str) -> str:
    """Refuse a layer of its own to a function that stands in a sequence."""
    raise RefusedError(f"a sequence with a {name} of its own")
