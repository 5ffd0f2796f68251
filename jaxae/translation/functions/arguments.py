"""Arguments as torch's functions take them: sizes, dtypes and axes in their many spellings."""

import math
from collections.abc import Sequence
from typing import Any

from jaxae.translation.graph import Dtype, Size
from jaxae.translation.writer import Out, Tensor, Writer


def numbers(sizes: Sequence[Any]) -> list[Any]:
    """`view(2, 3)` and `view((2, 3))` alike."""
    return list(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], tuple | list) else list(sizes)


def each(value: Any, count: int) -> tuple[Any, ...]:
    """One number for all axes, or one for each."""
    if isinstance(value, tuple | list):
        return tuple(value) * count if len(value) == 1 else tuple(value)
    return (value,) * count


def dtype(w: Writer, kind: Dtype, like: Tensor | None = None) -> str:
    """A dtype as JAX names it: the widest are `int` and `float`, which JAX narrows where it has 32 bits."""
    return {"int64": "int", "float64": "float", "bool": "bool"}.get(kind.fixed or "", "") or w.dtype(kind, like)


def said(w: Writer, kind: Dtype | None, like: Tensor | None = None) -> str:
    """A dtype as the last argument of a call, nothing where torch takes its own."""
    return "" if kind is None else f", dtype={dtype(w, kind, like)}"


def cast(w: Writer, x: Tensor, kind: Dtype | None, like: Tensor | None = None) -> Tensor:
    """A tensor in a dtype; as it is where it has that one."""
    if kind is None or x.value.dtype == kind:
        return x
    return Tensor(f"{x.code}.astype({dtype(w, kind, like)})", x.value, x.last)


def product(sizes: Sequence[Any]) -> Any:
    """The number of elements, of which one size may follow the batch."""
    follow = [one for one in sizes if isinstance(one, Size)]
    rest = math.prod(one for one in sizes if not isinstance(one, Size))
    if not follow:
        return rest
    return Size(tuple(rest * math.prod(one) for one in zip(*(size.each for size in follow), strict=True)))


def sizes_code(w: Writer, sizes: Sequence[Any]) -> str:
    """A shape as a tuple."""
    return w.literal(tuple(sizes), "shape")


def stored(x: Tensor, per_axis: Sequence[Any]) -> list[Any]:
    """What belongs to torch's axes, in the order in which the expression has them."""
    return [per_axis[axis] for axis in x.order]


def image(w: Writer, x: Tensor, space: int) -> str:
    """Images with channels at the end.

    Args:
        w: The writer.
        x: A batch of images.
        space: Number of their axes beside batch and channels.
    """
    if x.ndim != space + 2:
        raise w.refuse(f"takes {x.ndim} axes here; give it a batch of images, {space + 2} axes")
    return w.last(x)


def kept(out: Out, x: Tensor) -> Tensor:
    """A result as the operand of another expression; of its shape only the number of axes is right."""
    return Tensor(out.code, x.value, out.last)
