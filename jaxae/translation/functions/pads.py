"""Rules for pads and windows."""

from typing import Any

from jaxae.translation.functions.arguments import each, image, stored
from jaxae.translation.functions.indices import getitem
from jaxae.translation.rules import function
from jaxae.translation.writer import Out, Tensor, Writer

_MODES = {"constant": "", "reflect": ', mode="reflect"', "replicate": ', mode="edge"', "circular": ', mode="wrap"'}


@function("pad", "constant_pad_nd")
def pad(w: Writer, input: Tensor, pad: Any, mode: Any = "constant", value: Any = None) -> Out:
    if not isinstance(mode, str):  # constant_pad_nd takes the value third
        mode, value = "constant", mode
    if not all(isinstance(one, int) for one in pad):
        raise w.refuse("pads by a number that follows the batch")
    sides = [(0, 0)] * input.ndim
    for n in range(len(pad) // 2):
        sides[-1 - n] = tuple(pad[2 * n : 2 * n + 2])
    x = input
    if any(one < 0 for pair in sides for one in pair):
        cut = tuple(slice(max(-a, 0) or None, min(b, 0) or None) for a, b in sides)
        out = getitem(w, input, cut)
        x = Tensor(out.code, input.value, out.last)
    sides = stored(x, [(max(a, 0), max(b, 0)) for a, b in sides])
    if not any(map(any, sides)):
        return w.elementwise("{}", x)
    more = f", constant_values={w.literal(value)}" if value else ""
    return Out(f"jnp.pad({x.code}, {w.literal(tuple(sides), 'padding')}{_MODES[mode]}{more})", x.last)


@function("unfold")
def unfold(
    w: Writer,
    input: Tensor,
    *sizes: Any,
    kernel_size: Any = None,
    dimension: int = 0,
    size: int = 0,
    step: int = 0,
    **settings: Any,
) -> Out:
    """The patches of images (torch.nn.functional.unfold), and the windows along one axis (a tensor's method)."""
    if len(sizes) == 3 or size:
        dimension, size, step = sizes or (dimension, size, step)
        where = f"axis={w.literal(dimension % input.ndim)}, size={w.literal(size)}, step={w.literal(step)}"
        return Out(f"{w.piece('windows')}({w.plain(input)}, {where})")
    kernel_size = sizes[0] if sizes else kernel_size
    said = _window(w, kernel_size, **settings)
    return Out(f"{w.piece('patches')}({image(w, input, 2)}, {said})")


def _window(w: Writer, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> str:
    settings = {"strides": (stride, 1), "padding": (padding, 0), "dilation": (dilation, 1)}
    several = [w.literal(each(kernel_size, 2), "kernel_size")]
    several += [f"{k}={w.literal(each(v, 2), k)}" for k, (v, usual) in settings.items() if each(v, 2) != (usual,) * 2]
    return ", ".join(several)


@function("fold")
def fold(w: Writer, input: Tensor, output_size: Any, kernel_size: Any, **settings: Any) -> Out:
    said = _window(w, kernel_size, **settings)
    return Out(f"{w.piece('from_patches')}({w.plain(input)}, {w.literal(each(output_size, 2))}, {said})", last=True)
