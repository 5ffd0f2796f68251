"""Rules for indices: parts of tensors read and written."""

from collections.abc import Sequence
from typing import Any

from jaxae.translation.functions.arguments import cast
from jaxae.translation.graph import Size
from jaxae.translation.rules import function
from jaxae.translation.writer import Out, Tensor, Writer, last_order, static

_ALL = slice(None)


def _items(w: Writer, x: Tensor, index: Any) -> list[Any]:
    """An index as one item for each of torch's axes, and None for new ones."""
    items = list(index) if isinstance(index, tuple) else [index]
    for one in items:
        if isinstance(one, bool) or (isinstance(one, slice) and not _plain_slice(one)):
            raise w.refuse("takes an index that is no number, slice, None, ... or tensor of whole numbers")
        if isinstance(one, Tensor) and _is_mask(one):
            raise w.refuse("takes the elements at a mask, so that the result's shape depends on data; use torch.where")
    count = sum(one is not None and one is not Ellipsis for one in items)
    fill = [_ALL] * (x.ndim - count)
    at = next((n for n, one in enumerate(items) if one is Ellipsis), None)
    return [*items, *fill] if at is None else [*items[:at], *fill, *items[at + 1 :]]


def _plain_slice(one: slice) -> bool:
    return all(part is None or isinstance(part, int | Size) for part in (one.start, one.stop, one.step))


def _is_mask(x: Tensor) -> bool:
    return x.value.dtype.each[0] in ("bool", "uint8") and x.ndim > 0


def _is_tensor(item: Any) -> bool:
    """Whether an item takes several elements in an order of its own."""
    return isinstance(item, list) or (isinstance(item, Tensor) and item.ndim > 0)


def _text(w: Writer, item: Any) -> str:
    if item is None:
        return "None"
    if isinstance(item, slice):
        start, stop, step = ("" if one is None else w.literal(one) for one in (item.start, item.stop, item.step))
        return f"{start}:{stop}" + (f":{step}" if step else "")
    if isinstance(item, list):
        if not static(item):
            raise w.refuse("takes a list of tensors as an index; stack them")
        return f"jnp.array({w.literal(item)})"
    return w.plain(item) if isinstance(item, Tensor) else w.literal(item)


def _indexed(w: Writer, code: str, items: Sequence[Any]) -> str:
    items = list(items)
    while items and items[-1] == _ALL:
        items.pop()
    if not items:
        return code
    if len(items) > 2 and all(one == _ALL for one in items[:-1]) and items[-1] is None:
        return f"{code}[..., None]"
    return f"{code}[{', '.join(_text(w, one) for one in items)}]"


def _basic(w: Writer, x: Tensor, items: Sequence[Any]) -> Out:
    """Numbers, slices and new axes."""
    if not x.last or any(one is None for one in items):
        return Out(_indexed(w, w.plain(x), items))
    kept = [axis for axis in x.order if isinstance(items[axis], slice)]
    places = tuple(sorted(kept).index(axis) for axis in kept)
    plain = places == tuple(range(len(kept)))
    if not plain and places != last_order(len(kept)):
        return Out(_indexed(w, w.plain(x), items))
    ordered = [items[axis] for axis in x.order]
    if x.ndim > 3 and all(one == _ALL for one in ordered[1:-1]) and ordered[-1] != _ALL and ordered[0] == _ALL:
        return Out(f"{x.code}[..., {_text(w, ordered[-1])}]", not plain)
    return Out(_indexed(w, x.code, ordered), not plain)


@function("__getitem__")
def getitem(w: Writer, input: Tensor, index: Any) -> Out:
    items = _items(w, input, index)
    if not any(map(_is_tensor, items)):
        return _basic(w, input, items)
    code = w.plain(input)
    if any(not isinstance(one, slice) and not _is_tensor(one) for one in items):
        code = _indexed(w, code, [_ALL if _is_tensor(one) else one for one in items])
        left = [one for one in items if one is None or _is_tensor(one) or isinstance(one, slice)]
        items = [one if _is_tensor(one) else _ALL for one in left]
    return Out(_indexed(w, code, items))


@function("__setitem__")
def setitem(w: Writer, input: Tensor, index: Any, value: Any) -> Out:
    """The whole new tensor."""
    if isinstance(index, tuple) and len(index) == 1:
        index = index[0]
    if isinstance(index, Tensor) and _is_mask(index):
        if isinstance(value, Tensor) and value.ndim:
            raise w.refuse("writes elements at a mask whose number depends on data; use torch.where")
        if index.ndim == input.ndim:
            return w.elementwise("jnp.where({1}, {2}, {0})", input, index, _fitting(w, input, value))
        mask = f"{w.plain(index)}[..., {', '.join(['None'] * (input.ndim - index.ndim))}]"
        return Out(f"jnp.where({mask}, {_value(w, input, value)}, {w.plain(input)})")
    items = _items(w, input, index)
    if all(isinstance(one, slice) and one == _ALL for one in items) and isinstance(value, int | float):
        return Out(f"jnp.full_like({input.code}, {w.literal(value)})", input.last)
    tensors = [n for n, one in enumerate(items) if _is_tensor(one)]
    numbers = [one for one in items if not isinstance(one, slice) and not _is_tensor(one)]
    if tensors and (numbers or tensors[-1] - tensors[0] >= len(tensors)):
        raise w.refuse("writes at tensors mixed with numbers or slices between them; write it in steps")
    if input.last and not tensors and None not in items and not (isinstance(value, Tensor) and value.ndim):
        ordered = [items[axis] for axis in input.order]
        return Out(f"{_at(w, input.code, ordered)}.set({_value(w, input, value)})", last=True)
    return Out(f"{_at(w, w.plain(input), items)}.set({_value(w, input, value)})")


def _at(w: Writer, code: str, items: Sequence[Any]) -> str:
    return _indexed(w, f"{code}.at", items) if any(one != _ALL for one in items) else f"{code}.at[:]"


def _fitting(w: Writer, x: Tensor, value: Any) -> Any:
    return cast(w, value, x.value.dtype, x) if isinstance(value, Tensor) else value


def _value(w: Writer, x: Tensor, value: Any) -> str:
    return w.plain(_fitting(w, x, value)) if isinstance(value, Tensor) else w.literal(value)


@function("narrow")
def narrow(w: Writer, input: Tensor, dim: int, start: Any, length: Any) -> Out:
    dim %= input.ndim
    if not isinstance(start, int) or not isinstance(length, int) or start < 0:
        raise w.refuse("starts or ends at a number that follows the batch; write a slice")
    return _basic(w, input, [slice(start or None, start + length) if n == dim else _ALL for n in range(input.ndim)])


@function("select")
def select(w: Writer, input: Tensor, dim: int, index: Any) -> Out:
    dim %= input.ndim
    return _basic(w, input, [index if n == dim else _ALL for n in range(input.ndim)])


@function("index_select")
def index_select(w: Writer, input: Tensor, dim: int, index: Tensor) -> Out:
    axis = w.literal(w.axis(input, dim), "axis")
    return Out(f"jnp.take({input.code}, {index.code}, axis={axis})", input.last)


@function("take")
def take(w: Writer, input: Tensor, index: Tensor) -> Out:
    return Out(f"{w.plain(input)}.reshape(-1)[{w.plain(index)}]")


@function("gather")
def gather(w: Writer, input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Out:
    dim %= input.ndim
    cut = [
        _ALL if n == dim or a == b else slice(None, b)
        for n, (a, b) in enumerate(zip(input.shape, index.shape, strict=True))
    ]
    x = _basic(w, input, cut)
    return take_along_dim(w, Tensor(x.code, input.value, x.last), index, dim)


@function("take_along_dim")
def take_along_dim(w: Writer, input: Tensor, indices: Tensor, dim: int | None = None) -> Out:
    if dim is None:
        return take(w, input, Tensor(f"{w.plain(indices)}.reshape(-1)", indices.value))
    (x, index), last = w.together(input, indices)
    axis = w.literal(w.axis(Tensor(x, input.value, last), dim), "axis")
    return Out(f"jnp.take_along_axis({x}, {index}, axis={axis})", last)


@function("scatter")
def scatter(
    w: Writer, input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: Any = None
) -> Out:
    ways = {None: "set", "add": "add", "multiply": "multiply"}
    return _scattered(w, input, dim, index, src if src is not None else value, ways[reduce])


@function("scatter_add")
def scatter_add(w: Writer, input: Tensor, dim: int, index: Tensor, src: Tensor) -> Out:
    return _scattered(w, input, dim, index, src, "add")


@function("scatter_reduce")
def scatter_reduce(
    w: Writer, input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Out:
    ways = {"sum": "add", "prod": "multiply", "amax": "max", "amin": "min"}
    if reduce not in ways or not include_self:
        raise w.refuse("takes a mean, or leaves out the tensor itself")
    return _scattered(w, input, dim, index, src, ways[reduce])


def _scattered(w: Writer, x: Tensor, dim: int, index: Tensor, source: Any, way: str) -> Out:
    if isinstance(source, Tensor) and source.ndim:
        pairs = zip(source.shape, index.shape, strict=True)
        cut = _basic(w, Tensor(w.plain(source), source.value), [_ALL if a == b else slice(None, b) for a, b in pairs])
        text = cut.code
    else:
        text = _value(w, x, source)
    axis = w.literal(dim % x.ndim, "axis")
    return Out(f"{w.piece('along')}({w.plain(x)}, {w.plain(index)}, axis={axis}).{way}({text})")


def _at_dim(w: Writer, x: Tensor, dim: int, index: Tensor) -> str:
    before = ":, " * (dim % x.ndim)
    return f"{w.plain(x)}.at[{before}{index.code}]"


@function("index_add")
def index_add(w: Writer, input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Out:
    more = "" if alpha == 1 else f"{w.literal(alpha)} * "
    return Out(f"{_at_dim(w, input, dim, index)}.add({more}{w.plain(source)})")


@function("index_copy")
def index_copy(w: Writer, input: Tensor, dim: int, index: Tensor, source: Tensor) -> Out:
    return Out(f"{_at_dim(w, input, dim, index)}.set({w.plain(source)})")


@function("index_fill")
def index_fill(w: Writer, input: Tensor, dim: int, index: Tensor, value: Any) -> Out:
    return Out(f"{_at_dim(w, input, dim, index)}.set({_value(w, input, value)})")


def _depends(name: str) -> None:
    def rule(w: Writer, *_: Any, **__: Any) -> Out:
        raise w.refuse("gives a tensor whose shape depends on data; use torch.where or a fixed number of elements")

    function(name)(rule)


for _name in ("masked_select", "nonzero", "argwhere", "unique", "unique_consecutive", "masked_scatter", "bincount"):
    _depends(_name)


@function("diagonal")
def diagonal(w: Writer, input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Out:
    if (offset, dim1, dim2) == (0, 0, 1):
        return Out(f"jnp.diagonal({w.plain(input)})")
    where = ", ".join(map(w.literal, (offset, dim1, dim2)))
    return Out(f"jnp.diagonal({w.plain(input)}, {where})")


@function("diag")
def diag(w: Writer, input: Tensor, diagonal: int = 0) -> Out:
    return Out(f"jnp.diag({input.code}{f', {w.literal(diagonal)}' if diagonal else ''})")


@function("diag_embed")
def diag_embed(w: Writer, input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Out:
    if (offset, dim1, dim2) != (0, -2, -1):
        raise w.refuse("has a diagonal elsewhere than on the last two axes")
    size = w.size(input.shape[-1])
    return Out(f"jnp.where(jnp.eye({size}, dtype=bool), {w.plain(input)}[..., None], 0)")


def _triangle(name: str) -> None:
    def rule(w: Writer, input: Tensor, diagonal: int = 0) -> Out:
        return Out(f"jnp.{name}({w.plain(input)}{f', {w.literal(diagonal)}' if diagonal else ''})")

    function(name)(rule)


_triangle("tril")
_triangle("triu")
