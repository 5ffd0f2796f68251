"""Rules for convolutions."""

from collections.abc import Sequence
from typing import Any

from jaxae.translation.layers.reparametrised import Raw, in_norm, raw, remedy
from jaxae.translation.rules import LayerCode, layer
from jaxae.translation.writer import Holes, LayerSetting, Out, RefusedError, Tensor, Writer

_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}  # of jnp.pad
_NAMED = {"reflect": "REFLECT", "circular": "CIRCULAR"}  # of nnx.Conv, which pads to the size that came in


@layer("Conv1d", "Conv2d", "Conv3d", norms=True)
def convolution(holes: Holes, module: Any) -> LayerCode:
    reach = [d * (k - 1) for k, d in zip(module.kernel_size, module.dilation, strict=True)]
    same = tuple((one // 2, one - one // 2) for one in reach)
    sides = _sides(module, same)
    before: tuple[tuple[int, int], ...] = ()
    if module.padding_mode == "zeros":
        padding = module.padding.upper() if isinstance(module.padding, str) else short(module.padding)
    elif not any(map(any, sides)):
        padding = "VALID"
    elif module.padding_mode in _NAMED and sides == same:
        padding = _NAMED[module.padding_mode]
    else:
        padding, before = "VALID", sides
    settings = {
        "kernel_size": module.kernel_size,
        "strides": LayerSetting(short(module.stride), 1),
        "padding": LayerSetting(padding, "SAME"),
        "kernel_dilation": LayerSetting(short(module.dilation), 1),
        "feature_group_count": LayerSetting(module.groups, 1),
        "use_bias": LayerSetting(module.bias is not None, True),
    }
    new = holes.call("nnx.Conv", *_features(module), **settings)

    def given(w: Writer, code: str) -> str:
        if not before:
            return code
        pads = w.literal(((0, 0), *before, (0, 0)))
        return f"jnp.pad({code}, {pads}, mode={_MODES[module.padding_mode]!r})"

    return _layer(holes, module, new, given)


def _sides(module: Any, same: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """Elements before and after each spatial axis."""
    if isinstance(module.padding, str):
        return same if module.padding == "same" else tuple((0, 0) for _ in same)
    return tuple((one, one) for one in module.padding)


@layer("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", norms=True)
def transposed(holes: Holes, module: Any) -> LayerCode:
    sizes = zip(module.kernel_size, module.dilation, module.padding, module.output_padding, strict=True)
    sides = tuple((d * (k - 1) - p, d * (k - 1) - p + more) for k, d, p, more in sizes)
    use_bias = LayerSetting(module.bias is not None, True)
    if module.groups > 1:
        if (norm := raw(module)) is not Raw.PLAIN:
            raise RefusedError(f"has a {norm.value} and groups; {remedy(norm)}")
        settings: dict[str, Any] = {
            "feature_group_count": module.groups,
            "strides": module.stride,
            "padding": sides,
            "kernel_dilation": module.dilation,
            "use_bias": use_bias,
        }
        name = holes.piece("GroupedConvTranspose")
        new = holes.call(name, *_features(module), (module.kernel_size, "kernel_size"), **settings)
        return _layer(holes, module, new)
    fitting = all(
        d * (k - 1) + 1 >= s for k, d, s in zip(module.kernel_size, module.dilation, module.stride, strict=True)
    )
    plain = not any(module.padding) and not any(module.output_padding) and fitting
    even = all(low == high for low, high in sides)
    padding = "VALID" if plain else short(tuple(low for low, _ in sides)) if even else sides
    settings = {
        "kernel_size": module.kernel_size,
        "strides": LayerSetting(short(module.stride), 1),
        "padding": LayerSetting(padding, "SAME"),
        "kernel_dilation": LayerSetting(short(module.dilation), 1),
        "use_bias": use_bias,
        "transpose_kernel": True,
    }
    return _layer(holes, module, holes.call("nnx.ConvTranspose", *_features(module), **settings))


def _features(module: Any) -> tuple[tuple[int, str], tuple[int, str]]:
    return (module.in_channels, "in_features"), (module.out_channels, "out_features")


def _layer(holes: Holes, module: Any, new: str, given: Any = lambda _, code: code) -> LayerCode:
    rank = len(module.kernel_size)

    def call(w: Writer, layer: str, input: Tensor, output_size: Any = None) -> Out:
        if output_size is not None:
            raise w.refuse("with output_size in the call; set output_padding in the layer instead")
        if input.ndim == rank + 1:  # without a batch
            inner = given(w, f"jnp.moveaxis({w.plain(input)}, 0, -1)[None]")
            return Out(f"jnp.moveaxis({layer}({inner})[0], -1, 0)")
        return Out(f"{layer}({given(w, w.last(input))})", last=True)

    weights = {"weight": "jnp.moveaxis({}.kernel[...], (-1, -2), (0, 1))", "bias": "{}.bias[...]"}
    if raw(module) is not Raw.PLAIN:
        new, weights = in_norm(holes, module, new), {}
    return LayerCode(new, call, channels=True, weights=weights)


def short(sizes: Sequence[int]) -> Any:
    """One number where all are the same."""
    return sizes[0] if len(set(sizes)) == 1 else tuple(sizes)
