"""Settings of convolutions in terms that both frameworks share: (low, high) pads of each axis."""

from collections.abc import Sequence
from typing import Any

from flax import nnx

from jaxae.errors import InputError
from jaxae.port.layers import PaddedConv

Pads = tuple[str, tuple[tuple[int, int], ...] | str]
# A layer of torch.nn, which may not be installed, or one of jaxae's own, which has the same attributes.
TorchLayer = Any


def axes(value: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """A setting of each spatial axis: None is 1, a single number is that of all axes."""
    value = 1 if value is None else value
    return (int(value),) * rank if isinstance(value, int) else tuple(map(int, value))


def _pairs(padding: Any, rank: int) -> tuple[tuple[int, int], ...]:
    if isinstance(padding, int):
        return ((padding, padding),) * rank
    pairs = tuple((p, p) if isinstance(p, int) else (int(p[0]), int(p[1])) for p in padding)
    return pairs * rank if len(pairs) == 1 else pairs


def _reach(kernel_size: Sequence[int], dilation: int | Sequence[int] | None) -> list[int]:
    """Dilated kernel size less one, axis by axis."""
    rank = len(kernel_size)
    return [d * (k - 1) for k, d in zip(kernel_size, axes(dilation, rank), strict=True)]


def flax_conv_padding(layer: nnx.Conv) -> Pads:
    """Padding of an `nnx.Conv`: its mode in torch's words, and (low, high) of each axis.

    Flax's "SAME" under a stride depends on the input's size, which no torch padding does: it stays the word.
    """
    reach = _reach(layer.kernel_size, layer.kernel_dilation)
    halves = tuple((r // 2, r - r // 2) for r in reach)
    if not isinstance(layer.padding, str):
        return "zeros", _pairs(layer.padding, len(reach))
    strided = any(stride != 1 for stride in axes(layer.strides, len(reach)))
    named: dict[str, Pads] = {
        "SAME": ("zeros", "SAME" if strided else halves),
        "VALID": ("zeros", tuple((0, 0) for _ in reach)),
        "CAUSAL": ("zeros", tuple((r, 0) for r in reach)),
        "CIRCULAR": ("circular", halves),
        "REFLECT": ("reflect", halves),
    }
    if layer.padding.upper() not in named:
        raise InputError(f"expected a padding that Flax has, got {layer.padding.upper()!r}")
    return named[layer.padding.upper()]


def padded_conv_padding(layer: PaddedConv) -> Pads:
    """The same of a `PaddedConv`, which has torch's words."""
    return layer.padding_mode, layer.sides


def torch_conv_padding(layer: TorchLayer) -> Pads:
    """The same of a torch convolution, or of jaxae's own."""
    reach = _reach(layer.kernel_size, layer.dilation)
    mode = getattr(layer, "padding_mode", "zeros")
    if layer.padding == "valid":
        return mode, tuple((0, 0) for _ in reach)
    if layer.padding == "same":
        return mode, tuple((r // 2, r - r // 2) for r in reach)
    return mode, tuple((p, p) for p in axes(layer.padding, len(reach)))


def flax_transpose_padding(layer: nnx.ConvTranspose) -> Pads:
    """Padding of the stride-dilated input in an `nnx.ConvTranspose`, by lax's rules."""
    reach = _reach(layer.kernel_size, layer.kernel_dilation)
    padding = layer.padding.upper() if isinstance(layer.padding, str) else layer.padding
    if not isinstance(padding, str):
        return "zeros", _pairs(padding, len(reach))
    if padding not in ("SAME", "VALID"):
        return padding.lower(), padding
    pairs = []
    for r, stride in zip(reach, axes(layer.strides, len(reach)), strict=True):
        if padding == "VALID":
            low, total = r, r + stride - 1 + max(r + 1 - stride, 0)
        else:
            total = r + stride - 1
            low = r if stride > r else -(-total // 2)
        pairs.append((low, total - low))
    return "zeros", tuple(pairs)


def torch_transpose_padding(layer: TorchLayer) -> Pads:
    """The same of torch's transposed convolution, or jaxae's: k - 1 - p on each side, then + o.

    A torch padding beyond the kernel crops, which negative padding means in both frameworks.
    """
    reach = _reach(layer.kernel_size, layer.dilation)
    rank = len(reach)
    pads = zip(reach, axes(layer.padding, rank), axes(layer.output_padding, rank), strict=True)
    mode = getattr(layer, "padding_mode", "zeros")
    return mode, tuple((r - p, r - p + extra) for r, p, extra in pads)
