"""Rules for pools."""

from collections.abc import Sequence
from typing import Any

from jaxae.translation.functions.arguments import each, image
from jaxae.translation.graph import Size
from jaxae.translation.rules import function
from jaxae.translation.writer import Out, Tensor, Writer

Pairs = tuple[tuple[int, int], ...]


def _sides(
    w: Writer,
    x: Tensor,
    window: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil: bool,
) -> Pairs:
    """The pads on both sides of each axis, wider on the right where a last window reaches beyond (ceil_mode)."""
    if any(isinstance(one, Size) for one in x.shape[2:]):
        raise w.refuse("pools an axis that follows the batch")
    pairs = []
    for size, k, s, p, d in zip(x.shape[2:], window, strides, padding, dilation, strict=True):
        reach = d * (k - 1) + 1
        count = -(-(size + 2 * p - reach) // s) + 1
        count -= (count - 1) * s >= size + p
        pairs.append((p, max(p, (count - 1) * s + reach - size - p) if ceil else p))
    return tuple(pairs)


def _said(w: Writer, window: tuple[int, ...], strides: tuple[int, ...]) -> str:
    return f"{w.literal(window, 'window')}, strides={w.literal(strides, 'strides')}"


def _padding(w: Writer, pairs: Pairs) -> str:
    return f", padding={w.literal(pairs, 'padding')}" if any(map(any, pairs)) else ""


def _max_pool(space: int) -> None:
    def rule(
        w: Writer,
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Out:
        if return_indices:
            raise w.refuse("gives the places of the largest elements, which Flax's pools do not")
        window, dilated = each(kernel_size, space), each(dilation, space)
        strides = each(stride or kernel_size, space)
        x = image(w, input, space)
        pairs = _sides(w, input, window, strides, each(padding, space), dilated, ceil_mode)
        more = _padding(w, pairs)
        if set(dilated) == {1}:
            if more:
                around = w.literal(((0, 0), *pairs, (0, 0)))
                x = f"jnp.pad({x}, {around}, constant_values=-jnp.inf)"
            return Out(f"nnx.max_pool({x}, {_said(w, window, strides)})", last=True)
        more += f", dilation={w.literal(dilated, 'dilation')}"
        return Out(f"{w.piece('max_pool')}({x}, {_said(w, window, strides)}{more})", last=True)

    function(f"max_pool{space}d", channels=True)(rule)

    def places(w: Writer, input: Tensor, *_: Any, **__: Any) -> Out:
        raise w.refuse("gives the places of the largest elements, which Flax's pools do not")

    function(f"max_pool{space}d_with_indices", f"adaptive_max_pool{space}d_with_indices")(places)
    function(f"max_unpool{space}d", f"fractional_max_pool{space}d_with_indices")(places)


def averaged(
    w: Writer,
    x: Tensor,
    space: int,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Out:
    """The means over windows."""
    window, strides, inside = each(kernel_size, space), each(stride or kernel_size, space), each(padding, space)
    code = image(w, x, space)
    pairs = _sides(w, x, window, strides, inside, (1,) * space, ceil_mode)
    beyond = any(right > p for (_, right), p in zip(pairs, inside, strict=True))
    said, more = _said(w, window, strides), _padding(w, pairs)
    if divisor_override:
        return Out(f"({w.piece('sum_pool')}({code}, {said}{more}) / {w.literal(divisor_override)})", last=True)
    if beyond and count_include_pad and any(inside):
        counted = w.literal(tuple((p, p) for p in inside))
        return Out(f"{w.piece('avg_pool')}({code}, {said}{more}, counted={counted})", last=True)
    counts = "" if not more or (count_include_pad and not beyond) else ", count_include_pad=False"
    return Out(f"nnx.avg_pool({code}, {said}{more}{counts})", last=True)


def _avg_pool(space: int) -> None:
    def rule(w: Writer, input: Tensor, kernel_size: Any, *args: Any, **kwargs: Any) -> Out:
        return averaged(w, input, space, kernel_size, *args, **kwargs)

    function(f"avg_pool{space}d", channels=True)(rule)

    def lp_pool(
        w: Writer, input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
    ) -> Out:
        power, count = w.literal(norm_type, "norm_type"), 1
        for one in each(kernel_size, space):
            count *= one
        powers = Tensor(f"({w.last(input)} ** {power})", input.value, last=True)
        mean = averaged(w, powers, space, kernel_size, stride, 0, ceil_mode)
        return Out(f"((nnx.relu({mean.code}) * {w.literal(count)}) ** (1 / {power}))", last=True)

    function(f"lp_pool{space}d", channels=True)(lp_pool)


def adaptive(w: Writer, x: Tensor, space: int, output_size: Any, kind: str) -> Out:
    """A pool whose result has a given size: the mean or the largest of each part."""
    code = image(w, x, space)
    sizes = x.shape[2:]
    wanted = [b if a is None else a for a, b in zip(each(output_size, space), sizes, strict=True)]
    if any(isinstance(one, Size) for one in (*sizes, *wanted)):
        raise w.refuse("pools an axis that follows the batch")
    if all(one == 1 for one in wanted):
        return w.reduce(f"{{}}.{kind}({{}})", Tensor(code, x.value, True), tuple(range(2, x.ndim)), True)
    if list(sizes) == wanted:
        return Out(code, last=True)
    if all(a % b == 0 for a, b in zip(sizes, wanted, strict=True)):
        window = tuple(a // b for a, b in zip(sizes, wanted, strict=True))
        name = {"mean": "avg", "max": "max"}[kind]
        return Out(f"nnx.{name}_pool({code}, {_said(w, window, window)})", last=True)
    return Out(f"{w.piece('adaptive_pool')}({code}, {w.literal(tuple(wanted), 'sizes')}, jnp.{kind})", last=True)


def _adaptive_pool(space: int) -> None:
    def mean(w: Writer, input: Tensor, output_size: Any) -> Out:
        return adaptive(w, input, space, output_size, "mean")

    def largest(w: Writer, input: Tensor, output_size: Any, return_indices: bool = False) -> Out:
        if return_indices:
            raise w.refuse("gives the places of the largest elements, which Flax's pools do not")
        return adaptive(w, input, space, output_size, "max")

    function(f"adaptive_avg_pool{space}d", channels=True)(mean)
    function(f"adaptive_max_pool{space}d", channels=True)(largest)


for _space in (1, 2, 3):
    _max_pool(_space)
    _avg_pool(_space)
    _adaptive_pool(_space)
