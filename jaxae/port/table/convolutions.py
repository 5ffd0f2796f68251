"""Rows of the table: linear layers, convolutions and transposed convolutions."""

from collections.abc import Mapping
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
from flax import nnx

from jaxae.network import layers
from jaxae.port.layers import PaddedConv
from jaxae.port.row import Layer, Row, Setting
from jaxae.port.table import padding

_BIAS = Row("bias", "bias", "outputs -> outputs")
_LINEAR = (Row("weight", "kernel", "outputs inputs -> inputs outputs"), _BIAS)
_CONV = (Row("weight", "kernel", "outputs inputs ... -> ... inputs outputs"), _BIAS)
# torch's [in, out / groups, *kernel] is the kernel of the convolution that this one transposes.
_TRANSPOSED = (Row("weight", "kernel", "inputs outputs ... -> ... outputs inputs"), _BIAS)
_FLIPPED = (Row("weight", "kernel", "inputs outputs ... -> ... inputs outputs", flip=True), _BIAS)


def _settings(pads: Setting, stride: str, dilation: str, groups: str | None = None) -> tuple[Setting, ...]:
    """The settings of a convolution, by Flax's names of its stride, dilation and groups."""

    def of_each_axis(name: str, flax: str) -> Setting:
        return Setting(
            name,
            lambda layer: padding.axes(getattr(layer, flax), len(layer.kernel_size)),
            lambda torch: tuple(getattr(torch, name)),
        )

    settings = of_each_axis("stride", stride), pads, of_each_axis("dilation", dilation)
    return (*settings, Setting("groups", attrgetter(groups), attrgetter("groups"))) if groups else settings


def _refuse_conv(layer: Any) -> str | None:
    if layer.mask is not None:
        return "its kernel is masked, which torch's is not"
    dilation = getattr(layer, "input_dilation", 1)
    if any(one != 1 for one in padding.axes(dilation, len(layer.kernel_size))):
        return "it dilates its input; torch has that as ConvTranspose"
    return None


def _refuse_torch_conv(torch: Any) -> str | None:
    if torch.padding_mode in ("zeros", "reflect", "circular"):
        return None
    return f"nnx.Conv has no padding mode {torch.padding_mode!r}; jaxae.port.PaddedConv has"


def _has_no_groups(torch: str) -> str:
    return f"nnx.ConvTranspose has no groups ({torch}); jaxae.network.layers.ConvTranspose has"


def _refuse_torch_transpose(torch: Any) -> str | None:
    return _has_no_groups(f"torch's has {torch.groups}") if torch.groups > 1 else _refuse_torch_conv(torch)


def _refuse_grouped_weight(layer: Any, tensors: Mapping[str, np.ndarray]) -> str | None:
    shape = tuple(tensors["weight"].shape) if "weight" in tensors else ()
    if len(shape) < 3 or shape[0] != layer.in_features or shape[1] >= layer.out_features:
        return None
    groups, rest = divmod(layer.out_features, shape[1])
    return None if rest else _has_no_groups(f"weight {shape} has {groups}")


def _of_one_pixel(rank: int) -> Row:
    return Row("weight", "kernel", f"outputs inputs {'1 ' * rank}-> inputs outputs")


def _refuse_spread(torch: Any) -> str | None:
    plain = all(set(map(int, one)) == {1} for one in (torch.kernel_size, torch.stride)) and torch.groups == 1
    unpadded = torch.padding == "valid" or not any(torch.padding)
    return None if plain and unpadded else "nnx.Linear is a convolution of one pixel, stride 1, no padding, one group"


_CONVS = ("Conv1d", "Conv2d", "Conv3d")
_TRANSPOSES = ("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")

_padding = partial(Setting, "padding (mode, low and high)", torch=padding.torch_conv_padding)
_transpose_padding = partial(Setting, "padding of the dilated input", torch=padding.torch_transpose_padding)
_STOCK_WIDTH = attrgetter("in_features", "out_features")
_LINEARS: dict[str, Any] = {"width": _STOCK_WIDTH}
_OWN: dict[str, Any] = {"spatial": True, "width": attrgetter("in_channels", "out_channels")}
_OWN_CONV = _settings(_padding(padding.torch_conv_padding), "stride", "dilation", "groups")
_OWN_TRANSPOSE = _settings(_transpose_padding(padding.torch_transpose_padding), "stride", "dilation", "groups")
_STOCK: dict[str, Any] = {"spatial": True, "width": _STOCK_WIDTH, "refuse": _refuse_conv}
_STOCK_CONV = _settings(_padding(padding.flax_conv_padding), "strides", "kernel_dilation", "feature_group_count")
_PADDED_CONV = _settings(_padding(padding.padded_conv_padding), "strides", "kernel_dilation", "feature_group_count")
_STOCK_TRANSPOSE: dict[str, Any] = {
    "settings": _settings(_transpose_padding(padding.flax_transpose_padding), "strides", "kernel_dilation"),
    "refuse_torch": _refuse_torch_transpose,
    "refuse_tensors": _refuse_grouped_weight,
    **_STOCK,
}

CONVOLUTIONS = (
    Layer(layers.Linear, ("Linear",), _LINEAR, width=_STOCK_WIDTH),
    Layer(nnx.Linear, ("Linear",), _LINEAR, width=_STOCK_WIDTH),
    # GPT-2's layer of that name keeps its weight transposed; a convolution of one pixel is a linear layer.
    Layer(nnx.Linear, ("Conv1D",), (Row("weight", "kernel", "inputs outputs -> inputs outputs"), _BIAS), **_LINEARS),
    *(
        Layer(nnx.Linear, (f"Conv{rank}d",), (_of_one_pixel(rank), _BIAS), refuse_torch=_refuse_spread, **_LINEARS)
        for rank in (1, 2, 3)
    ),
    Layer(layers.Conv, ("Conv2d",), _CONV, _OWN_CONV, refuse_torch=_refuse_torch_conv, **_OWN),
    Layer(nnx.Conv, _CONVS, _CONV, _STOCK_CONV, refuse_torch=_refuse_torch_conv, **_STOCK),
    Layer(PaddedConv, _CONVS, _CONV, _PADDED_CONV, **_STOCK),
    Layer(layers.ConvTranspose, ("ConvTranspose2d",), _TRANSPOSED, _OWN_TRANSPOSE, **_OWN),
    Layer(nnx.ConvTranspose, _TRANSPOSES, _TRANSPOSED, when=attrgetter("transpose_kernel"), **_STOCK_TRANSPOSE),
    Layer(nnx.ConvTranspose, _TRANSPOSES, _FLIPPED, when=lambda one: not one.transpose_kernel, **_STOCK_TRANSPOSE),
)
