"""Rules for images of another size."""

import math
from typing import Any

import torch
from torch.nn import functional as F

from jaxae.translation.functions.arguments import each, image
from jaxae.translation.functions.pools import adaptive
from jaxae.translation.graph import Size
from jaxae.translation.rules import function
from jaxae.translation.writer import Out, Tensor, Writer

_LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}


@function("interpolate", "upsample", channels=True)
def interpolate(
    w: Writer,
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Out:
    if antialias:
        raise w.refuse("has antialias=True, for which there is no counterpart; leave it out")
    space = input.ndim - 2
    x, old = image(w, input, max(space, 1)), input.shape[2:]
    if any(isinstance(one, Size) for one in (*old, *each(size, space))):
        raise w.refuse("has a size that follows the batch")
    factors = None if scale_factor is None else each(scale_factor, space)
    if factors is not None:
        new = tuple(math.floor(float(a * b)) for a, b in zip(old, factors, strict=True))
    else:
        new = tuple(b if a is None else a for a, b in zip(each(size, space), old, strict=True))
    if recompute_scale_factor:
        factors = None
    if mode == "area":
        return adaptive(w, input, space, new, "mean")
    if new == old and factors is None:
        return Out(x, last=True)
    sizes = w.literal(new, "size")
    steps = tuple(a / b for a, b in zip(old, new, strict=True))
    own = steps if factors is None else tuple(1 / one for one in factors)
    more = "" if align_corners or _close(own, steps) else f", steps={w.literal(own, 'steps')}"
    if mode in ("nearest", "nearest-exact"):
        return _nearest(w, x, old, new, own, mode, sizes, more, factors)
    kind = "cubic" if mode == "bicubic" else "linear"
    more += ", align_corners=True" if align_corners else ""
    return Out(f"{w.piece(f'resized_{kind}')}({x}, {sizes}{more})", last=True)


def _close(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(math.isclose(a, b, rel_tol=1e-15) for a, b in zip(one, other, strict=True))


def _nearest(w: Writer, x: str, old: Any, new: Any, own: Any, mode: str, sizes: str, more: str, factors: Any) -> Out:
    shift = 0.5 if mode == "nearest-exact" else 0.0
    whole = True
    for axis, (a, b, step) in enumerate(zip(old, new, own, strict=True)):
        taken = _places(a, b, mode, None if factors is None else factors[axis])
        if taken != [min(math.floor((n + shift) * step), a - 1) for n in range(b)]:
            raise w.refuse("takes other elements than rounding says; give a size that is a multiple")
        whole = whole and b % a == 0 and taken == [n // (b // a) for n in range(b)]
    if whole:
        for axis, (a, b) in enumerate(zip(old, new, strict=True), start=1):
            x = x if a == b else f"{x}.repeat({w.literal(b // a, 'scale')}, axis={axis})"
        return Out(x, last=True)
    more += ", shift=0.5" if shift else ""
    return Out(f"{w.piece('resized_nearest')}({x}, {sizes}{more})", last=True)


def _places(old: int, new: int, mode: str, factor: float | None) -> list[int]:
    """Which elements torch takes along an axis."""
    row = torch.arange(old, dtype=torch.float64)[None, None]
    with torch._C.DisableTorchFunction():
        given = {"size": new} if factor is None else {"scale_factor": factor}
        return [int(one) for one in F.interpolate(row, mode=mode, **given)[0, 0]]  # type: ignore[arg-type]


@function("upsample_nearest", channels=True)
def upsample_nearest(w: Writer, input: Tensor, size: Any = None, scale_factor: Any = None) -> Out:
    return interpolate(w, input, size, scale_factor, "nearest")


@function("upsample_bilinear", channels=True)
def upsample_bilinear(w: Writer, input: Tensor, size: Any = None, scale_factor: Any = None) -> Out:
    return interpolate(w, input, size, scale_factor, "bilinear", True)


@function("grid_sample", "affine_grid")
def grid_sample(w: Writer, input: Tensor, *_: Any, **__: Any) -> Out:
    raise w.refuse("samples images at places of their own, for which there is no rule")
