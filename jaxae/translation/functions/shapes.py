"""Rules for shapes: the same elements on other axes."""

from collections.abc import Sequence
from typing import Any

from jaxae.translation.functions.arguments import numbers, product, stored
from jaxae.translation.graph import Dtype, Size
from jaxae.translation.rules import function
from jaxae.translation.writer import Out, Tensor, Writer


def reshaped(w: Writer, x: Tensor, sizes: Sequence[Any]) -> Out:
    """A tensor of another shape; channels stay at the end where batch and channels keep their axes."""
    sizes = list(sizes)
    keeps = x.last and len(sizes) >= 3 and _known(x, sizes)[:2] == list(x.shape[:2])
    if keeps:
        sizes = [sizes[0], *sizes[2:], sizes[1]]
        return Out(f"{x.code}.reshape({_listed(w, sizes)})", last=True)
    code = x.code if _is_flat(x) else w.plain(x)
    return Out(f"{code}.reshape({_listed(w, sizes)})")


def _known(x: Tensor, sizes: Sequence[Any]) -> list[Any]:
    """The sizes with what stands for -1."""
    if -1 not in sizes:
        return list(sizes)
    whole, rest = product(x.shape), product([one for one in sizes if one != -1])
    pairs = [_each(one) for one in (whole, rest)]
    gap = tuple(a // b if b else 0 for a, b in zip(*pairs, strict=True))
    return [(gap[0] if gap[0] == gap[1] else Size(gap)) if one == -1 else one for one in sizes]


def _each(size: Any) -> tuple[int, ...]:
    return size.each if isinstance(size, Size) else (size, size)


def _is_flat(x: Tensor) -> bool:
    """Whether the axes after the channels have one element each, so that their order says nothing."""
    return all(one == 1 for one in x.shape[2:])


def _listed(w: Writer, sizes: Sequence[Any]) -> str:
    return ", ".join("-1" if one == -1 else w.size(one) for one in sizes) or "()"


@function("view", "reshape")
def reshape(w: Writer, input: Tensor, *sizes: Any, shape: Any = None, size: Any = None) -> Out:
    asked = numbers(sizes) if sizes else list(shape if shape is not None else size)
    if any(isinstance(one, Dtype) for one in asked):
        raise w.refuse("reads the bits of a tensor as another dtype")
    return reshaped(w, input, asked)


@function("view_as", "reshape_as")
def reshape_as(w: Writer, input: Tensor, other: Tensor) -> Out:
    return reshaped(w, input, other.shape)


@function("flatten", "ravel")
def flatten(w: Writer, input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Out:
    if input.ndim == 0:
        return Out(f"{input.code}.reshape(1)")
    start, end = start_dim % input.ndim, end_dim % input.ndim
    if start == end:
        return w.elementwise("{}", input)
    if input.last and start >= 2:
        sizes = [w.size(one) for n, one in enumerate(input.shape[:start]) if n != 1]
        after = [w.size(one) for one in (*input.shape[end + 1 :], input.shape[1])]
        return Out(f"{input.code}.reshape({', '.join([*sizes, '-1', *after])})", last=True)
    code = input.code if _is_flat(input) and start <= 1 and end == input.ndim - 1 else w.plain(input)
    before = [w.size(one) for one in input.shape[:start]]
    after = [w.size(one) for one in input.shape[end + 1 :]]
    return Out(f"{code}.reshape({', '.join([*before, '-1', *after])})")


@function("unflatten")
def unflatten(w: Writer, input: Tensor, dim: int, sizes: Any) -> Out:
    dim %= input.ndim
    return reshaped(w, input, [*input.shape[:dim], *sizes, *input.shape[dim + 1 :]])


@function("squeeze")
def squeeze(w: Writer, input: Tensor, dim: Any = None) -> Out:
    dims = range(input.ndim) if dim is None else dim if isinstance(dim, tuple | list) else (dim,)
    gone = sorted({one % input.ndim for one in dims if input.shape[one] == 1})
    if not gone:
        return w.elementwise("{}", input)
    x, last = w.without(input, gone)
    axes = tuple(x.order.index(one) for one in gone)
    return Out(f"{x.code}.squeeze(axis={w.literal(axes[0] if len(axes) == 1 else axes, 'axis')})", last)


@function("unsqueeze")
def unsqueeze(w: Writer, input: Tensor, dim: int) -> Out:
    dim %= input.ndim + 1
    last = input.last and dim >= 2
    code = input.code if last else w.plain(input)
    before = dim - 1 if last else dim
    if dim == input.ndim and not last:
        return Out(f"{code}[..., None]")
    return Out(f"{code}[{', '.join([':'] * before + ['None'])}]", last)


@function("permute")
def permute(w: Writer, input: Tensor, *axes: Any, dims: Any = None) -> Out:
    return w.permuted(input, numbers(axes) if axes else dims)


@function("transpose", "swapaxes", "swapdims")
def transpose(w: Writer, input: Tensor, dim0: int, dim1: int) -> Out:
    dims = list(range(input.ndim))
    dims[dim0], dims[dim1] = dims[dim1], dims[dim0]
    if input.last:
        return w.permuted(input, dims)
    if input.ndim == 2 and dims == [1, 0]:
        return Out(f"{input.code}.T")
    return Out(f"{input.code}.swapaxes({w.literal(dim0)}, {w.literal(dim1)})")


@function("t", "T")
def transposed(w: Writer, input: Tensor) -> Out:
    if input.ndim < 2:
        return w.elementwise("{}", input)
    return Out(f"{w.plain(input)}.T")


@function("mT", "adjoint", "mH", "H")
def matrix_transposed(w: Writer, input: Tensor) -> Out:
    return transpose(w, input, -1, -2) if input.ndim > 2 else transposed(w, input)


@function("movedim", "moveaxis")
def movedim(w: Writer, input: Tensor, source: Any, destination: Any) -> Out:
    pair = [one if isinstance(one, tuple | list) else (one,) for one in (source, destination)]
    places = {to % input.ndim: axis % input.ndim for axis, to in zip(*pair, strict=True)}
    rest = iter([axis for axis in range(input.ndim) if axis not in places.values()])
    return w.permuted(input, [places[n] if n in places else next(rest) for n in range(input.ndim)])


def _expanded(w: Writer, x: Tensor, sizes: Sequence[Any]) -> Out:
    missing = len(sizes) - x.ndim
    whole = [x.shape[n - missing] if one == -1 else one for n, one in enumerate(sizes)]
    if whole == list(x.shape):
        return w.elementwise("{}", x)
    if x.last and not missing:
        return Out(f"jnp.broadcast_to({x.code}, {w.literal(tuple(stored(x, whole)))})", last=True)
    return Out(f"jnp.broadcast_to({w.plain(x)}, {w.literal(tuple(whole))})")


@function("expand", "broadcast_to")
def expand(w: Writer, input: Tensor, *sizes: Any, size: Any = None, implicit: bool = False) -> Out:
    return _expanded(w, input, numbers(sizes) if sizes else list(size))


@function("expand_as")
def expand_as(w: Writer, input: Tensor, other: Tensor) -> Out:
    return _expanded(w, input, other.shape)


@function("broadcast_tensors")
def broadcast_tensors(w: Writer, *tensors: Any) -> tuple[Out, ...]:
    several = numbers(tensors)
    rank = max(one.ndim for one in several)
    shapes = [(1,) * (rank - one.ndim) + one.shape for one in several]
    shape = [next((size for size in sizes if size != 1), 1) for sizes in zip(*shapes, strict=True)]
    return tuple(_expanded(w, one, shape) for one in several)


@function("repeat", "tile")
def repeat(w: Writer, input: Tensor, *sizes: Any, repeats: Any = None, dims: Any = None) -> Out:
    times = numbers(sizes) if sizes else list(repeats or dims)
    times = [1] * (input.ndim - len(times)) + times
    if input.last and len(times) == input.ndim:
        return Out(f"jnp.tile({input.code}, {w.literal(tuple(stored(input, times)))})", last=True)
    return Out(f"jnp.tile({w.plain(input)}, {w.literal(tuple(times))})")


@function("repeat_interleave")
def repeat_interleave(
    w: Writer, input: Tensor, repeats: Any, dim: int | None = None, *, output_size: int | None = None
) -> Out:
    if isinstance(repeats, Tensor):
        raise w.refuse("repeats by a tensor, so that the result's shape depends on data; repeat by a number")
    if dim is None:
        return Out(f"{w.plain(input)}.repeat({w.literal(repeats)})")
    return Out(f"{input.code}.repeat({w.literal(repeats)}, axis={w.literal(w.axis(input, dim), 'axis')})", input.last)


@function("roll")
def roll(w: Writer, input: Tensor, shifts: Any, dims: Any = None) -> Out:
    if dims is None or dims == () or dims == []:
        return Out(f"jnp.roll({w.plain(input)}, {w.literal(shifts)})")
    many = isinstance(dims, tuple | list)
    axes = tuple(w.axis(input, one) for one in dims) if many else w.axis(input, dims)
    shifts = (shifts,) if many and not isinstance(shifts, tuple | list) else shifts
    return Out(f"jnp.roll({input.code}, {w.literal(shifts)}, axis={w.literal(axes)})", input.last)


@function("flip")
def flip(w: Writer, input: Tensor, *places: Any, dims: Any = None) -> Out:
    axes = tuple(w.axis(input, one) for one in (numbers(places) if places else dims))
    return Out(f"jnp.flip({input.code}, axis={w.literal(axes[0] if len(axes) == 1 else axes)})", input.last)


@function("fliplr")
def fliplr(w: Writer, input: Tensor) -> Out:
    return flip(w, input, 1)


@function("flipud")
def flipud(w: Writer, input: Tensor) -> Out:
    return flip(w, input, 0)


@function("rot90")
def rot90(w: Writer, input: Tensor, k: int = 1, dims: Any = (0, 1)) -> Out:
    return Out(f"jnp.rot90({w.plain(input)}, {w.literal(k)}, axes={w.literal(tuple(dims))})")


@function("atleast_1d", "atleast_2d", "atleast_3d")
def atleast(w: Writer, input: Tensor) -> Out:
    raise w.refuse("depends on the number of axes; write unsqueeze")


@function("contiguous", "clone", "requires_grad", "cpu", "cuda", "alias", "identity")
def same(w: Writer, input: Tensor, *_: Any) -> Out:
    return w.elementwise("{}", input)


@function("detach", "data")
def detach(w: Writer, input: Tensor) -> Out:
    return w.elementwise("lax.stop_gradient({})", input)


@function("pixel_shuffle", channels=True)
def pixel_shuffle(w: Writer, input: Tensor, upscale_factor: int) -> Out:
    return _shuffled(w, "pixel_shuffle", input, upscale_factor, "factor")


@function("pixel_unshuffle", channels=True)
def pixel_unshuffle(w: Writer, input: Tensor, downscale_factor: int) -> Out:
    return _shuffled(w, "pixel_unshuffle", input, downscale_factor, "factor")


@function("channel_shuffle", "native_channel_shuffle", channels=True)
def channel_shuffle(w: Writer, input: Tensor, groups: int) -> Out:
    return _shuffled(w, "channel_shuffle", input, groups, "groups")


def _shuffled(w: Writer, piece: str, x: Tensor, number: int, hint: str) -> Out:
    if x.ndim < 3 or (x.ndim != 4 and piece != "channel_shuffle"):
        raise w.refuse("takes a batch of images")
    return Out(f"{w.piece(piece)}({w.last(x)}, {w.literal(number, hint)})", last=True)
