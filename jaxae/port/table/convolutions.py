"""Rows of the table: linear layers, convolutions and transposed convolutions."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flax import nnx

from jaxae.network import layers
from jaxae.port.row import Layer, Row, Setting
from jaxae.port.table.padding import (
    Pads,
    axes,
    flax_conv_padding,
    flax_transpose_padding,
    torch_conv_padding,
    torch_transpose_padding,
)

_BIAS = Row("bias", "bias", "outputs -> outputs")
_LINEAR = (Row("weight", "kernel", "outputs inputs -> inputs outputs"), _BIAS)
_CONV = (Row("weight", "kernel", "outputs inputs ... -> ... inputs outputs"), _BIAS)
# torch's [in, out / groups, *kernel] is the kernel of the convolution that this one transposes.
_TRANSPOSED = (Row("weight", "kernel", "inputs outputs ... -> ... outputs inputs"), _BIAS)
_FLIPPED = (Row("weight", "kernel", "inputs outputs ... -> ... inputs outputs", flip=True), _BIAS)


def _own_width(layer: Any) -> tuple[int, int]:
    return layer.in_channels, layer.out_channels


def _stock_width(layer: Any) -> tuple[int, int]:
    return layer.in_features, layer.out_features


def _settings(padding: Setting, stride: str, dilation: str, *groups: str) -> tuple[Setting, ...]:
    """The settings of a convolution, by Flax's names of its stride, dilation and groups."""

    def of_each_axis(name: str, flax: str) -> Setting:
        return Setting(
            name,
            lambda layer: axes(getattr(layer, flax), len(layer.kernel_size)),
            lambda torch: tuple(getattr(torch, name)),
        )

    def number_of(flax: str) -> Setting:
        return Setting("groups", lambda layer: getattr(layer, flax), lambda torch: torch.groups)

    first = (of_each_axis("stride", stride), padding, of_each_axis("dilation", dilation))
    return (*first, *map(number_of, groups))


def _padding(flax: Callable[[Any], Pads]) -> Setting:
    return Setting("padding (mode, low and high)", flax, torch_conv_padding)


def _transpose_padding(flax: Callable[[Any], Pads]) -> Setting:
    return Setting("padding of the dilated input", flax, torch_transpose_padding)


_OWN_CONV = _settings(_padding(torch_conv_padding), "stride", "dilation", "groups")
_OWN_TRANSPOSE = _settings(_transpose_padding(torch_transpose_padding), "stride", "dilation", "groups")
_STOCK_CONV = _settings(_padding(flax_conv_padding), "strides", "kernel_dilation", "feature_group_count")
_STOCK_TRANSPOSE = _settings(_transpose_padding(flax_transpose_padding), "strides", "kernel_dilation")


def _refuse_conv(layer: Any) -> str | None:
    if layer.mask is not None:
        return "its kernel is masked, which torch's is not"
    dilation = getattr(layer, "input_dilation", 1)
    if any(one != 1 for one in axes(dilation, len(layer.kernel_size))):
        return "it dilates its input; torch has that as ConvTranspose"
    return None


def _refuse_torch_conv(torch: Any) -> str | None:
    if torch.padding_mode not in ("zeros", "reflect", "circular"):
        return f"Flax has no padding mode {torch.padding_mode!r}"
    return None


def _has_no_groups(torch: str) -> str:
    return f"nnx.ConvTranspose has no groups ({torch}); jaxae.network.layers.ConvTranspose has"


def _refuse_torch_transpose(torch: Any) -> str | None:
    if torch.groups > 1:
        return _has_no_groups(f"torch's has {torch.groups}")
    return _refuse_torch_conv(torch)


def _refuse_grouped_weight(layer: Any, tensors: Mapping[str, np.ndarray]) -> str | None:
    shape = tuple(tensors["weight"].shape) if "weight" in tensors else ()
    if len(shape) < 3 or shape[0] != layer.in_features or shape[1] >= layer.out_features:
        return None
    groups, rest = divmod(layer.out_features, shape[1])
    return None if rest else _has_no_groups(f"weight {shape} has {groups}")


_CONVS = ("Conv1d", "Conv2d", "Conv3d")
_TRANSPOSES = ("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")


def _convolution(flax: type, torch: tuple[str, ...], rows: tuple[Row, ...], **more: Any) -> Layer:
    return Layer(flax, torch, rows, spatial=True, **{"width": _stock_width, **more})


def _stock_transpose(rows: tuple[Row, ...], *, transpose_kernel: bool) -> Layer:
    return _convolution(
        nnx.ConvTranspose,
        _TRANSPOSES,
        rows,
        settings=_STOCK_TRANSPOSE,
        when=lambda layer: layer.transpose_kernel == transpose_kernel,
        refuse=_refuse_conv,
        refuse_torch=_refuse_torch_transpose,
        refuse_tensors=_refuse_grouped_weight,
    )


CONVOLUTIONS = (
    Layer(layers.Linear, ("Linear",), _LINEAR, width=_stock_width),
    Layer(nnx.Linear, ("Linear",), _LINEAR, width=_stock_width),
    _convolution(
        layers.Conv, ("Conv2d",), _CONV, settings=_OWN_CONV, width=_own_width, refuse_torch=_refuse_torch_conv
    ),
    _convolution(nnx.Conv, _CONVS, _CONV, settings=_STOCK_CONV, refuse=_refuse_conv, refuse_torch=_refuse_torch_conv),
    _convolution(layers.ConvTranspose, ("ConvTranspose2d",), _TRANSPOSED, settings=_OWN_TRANSPOSE, width=_own_width),
    _stock_transpose(_TRANSPOSED, transpose_kernel=True),
    _stock_transpose(_FLIPPED, transpose_kernel=False),
)
