"""Rules that join tensors, and that split them."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from jaxae.translation.functions.arguments import numbers
from jaxae.translation.graph import Size
from jaxae.translation.rules import function
from jaxae.translation.writer import Out, Tensor, Writer


@function("cat", "concat", "concatenate")
def cat(w: Writer, tensors: Sequence[Tensor], dim: int = 0, axis: int | None = None) -> Out:
    dim = dim if axis is None else axis
    several = [one for one in tensors if one.shape != (0,)]
    codes, last = w.together(*several)
    whole = Tensor("", several[0].value, last)
    return Out(f"jnp.concatenate([{', '.join(codes)}], axis={w.literal(w.axis(whole, dim), 'axis')})", last)


@function("stack")
def stack(w: Writer, tensors: Sequence[Tensor], dim: int = 0) -> Out:
    dim %= tensors[0].ndim + 1
    codes, last = w.together(*tensors)
    if last and dim < 2:
        codes, last = [w.plain(one) for one in tensors], False
    axis = dim - 1 if last else -1 if dim == tensors[0].ndim else dim
    return Out(f"jnp.stack([{', '.join(codes)}]{f', axis={w.literal(axis)}' if axis else ''})", last)


@function("hstack")
def hstack(w: Writer, tensors: Sequence[Tensor]) -> Out:
    return cat(w, tensors, min(1, tensors[0].ndim - 1))


def _joined(name: str) -> None:
    def rule(w: Writer, tensors: Sequence[Tensor]) -> Out:
        return Out(f"jnp.{name}([{', '.join(w.plain(one) for one in tensors)}])")

    function(name)(rule)


for _name in ("vstack", "dstack", "column_stack"):
    _joined(_name)
function("row_stack")(lambda w, tensors: Out(f"jnp.vstack([{', '.join(w.plain(one) for one in tensors)}])"))


@function("meshgrid")
def meshgrid(w: Writer, *tensors: Any, indexing: str | None = None) -> Any:
    several = [w.plain(one) for one in numbers(tensors)]
    code = f"jnp.meshgrid({', '.join(several)}, indexing={(indexing or 'ij')!r})"
    return Out(code) if len(several) > 1 else (Out(f"{code}[0]"),)


@function("split", "split_with_sizes")
def split(w: Writer, tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> Any:
    size = split_size_or_sections
    if isinstance(size, tuple | list):
        return _parts(w, tensor, list(size), dim)
    whole = _whole(w, tensor, dim)
    return _parts(w, tensor, [min(size, whole - start) for start in range(0, whole, size)], dim)


@function("chunk")
def chunk(w: Writer, input: Tensor, chunks: int, dim: int = 0) -> Any:
    whole = _whole(w, input, dim)
    return split(w, input, -(-whole // chunks), dim)


@function("tensor_split")
def tensor_split(w: Writer, input: Tensor, indices_or_sections: Any, dim: int = 0) -> Any:
    whole = _whole(w, input, dim)
    if isinstance(indices_or_sections, tuple | list):
        ends = [0, *(min(one % whole if one < 0 else one, whole) for one in indices_or_sections), whole]
    else:
        short, longer = divmod(whole, indices_or_sections)
        ends = [0, *accumulate(short + (n < longer) for n in range(indices_or_sections))]
    return _parts(w, input, [b - a for a, b in pairwise(ends)], dim)


def _whole(w: Writer, x: Tensor, dim: int) -> int:
    whole = x.shape[dim]
    if isinstance(whole, Size):
        raise w.refuse("splits an axis that follows the batch, into parts whose sizes are no sizes of the network")
    return whole


def _parts(w: Writer, x: Tensor, sizes: list[Any], dim: int) -> Any:
    if len(sizes) == 1:
        return (w.elementwise("{}", x),)
    axis = w.literal(w.axis(x, dim), "axis")
    if len(set(sizes)) == 1:
        return Out(f"jnp.split({x.code}, {w.literal(len(sizes))}, axis={axis})", x.last)
    if any(isinstance(one, Size) for one in sizes):
        raise w.refuse("splits into parts that follow the batch; write slices")
    return Out(f"jnp.split({x.code}, {w.literal(tuple(accumulate(sizes[:-1])))}, axis={axis})", x.last)


@function("unbind", "__iter__")
def unbind(w: Writer, input: Tensor, dim: int = 0) -> Any:
    dim %= input.ndim
    whole = _whole(w, input, dim)
    x, last = w.without(input, [dim])
    axis = x.order.index(dim)
    if axis == 0 and whole > 1:
        return Out(x.code, last)
    before = ":, " * axis
    return tuple(Out(f"{x.code}[{before}{n}]", last) for n in range(whole))
