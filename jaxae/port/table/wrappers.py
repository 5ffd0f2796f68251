"""Rows of the table: layers whose weight another one computes, by weight or spectral normalisation."""

from dataclasses import replace
from typing import Any

from flax import nnx

from jaxae.port.row import Layer, Row
from jaxae.port.table.convolutions import CONVOLUTIONS

# torch's two ways to write a norm's scale and its direction: by parametrization, and the older one by a hook.
_STYLES = (("parametrizations.weight.original0", "parametrizations.weight.original1"), ("weight_g", "weight_v"))


def _refuse_weight_norm(layer: Any) -> str | None:
    inner = layer.layer_instance
    if layer.feature_axes != -1 or not layer.use_scale or set(layer.scales) != {("kernel",)}:
        return "torch's weight_norm scales each output of the kernel, and nothing else"
    if isinstance(inner, nnx.ConvTranspose) and not inner.transpose_kernel:
        return "torch's weight_norm scales each input of a transposed convolution: set transpose_kernel=True"
    return None


def _weight_norm(inner: Layer, scale: str, direction: str) -> Layer:
    """The entry of a wrapped layer, from its own."""

    def rows(layer: Any) -> tuple[Row, ...]:
        wrapped = layer.layer_instance
        return (
            Row(scale, "scales.kernel", f"outputs {'1 ' * (len(wrapped.kernel.shape) - 1)}-> outputs"),
            *(
                replace(row, torch=direction if row.torch == "weight" else row.torch, flax=f"layer_instance.{row.flax}")
                for row in inner.rows_of(wrapped)
            ),
        )

    return Layer(
        nnx.WeightNorm,
        (),
        rows,
        when=lambda layer: type(layer.layer_instance) is inner.flax and inner.when(layer.layer_instance),
        refuse=_refuse_weight_norm,
        width=lambda layer: inner.width(layer.layer_instance) if inner.width else (0, 0),
        spatial=inner.spatial,
    )


def _refuse_spectral_norm(_: Any) -> str | None:
    return (
        "nnx.SpectralNorm takes a step of the power iteration in every call and overwrites its own kernel, torch's "
        "divides by the u and v that it has: their outputs part; use torch.nn.utils.remove_spectral_norm (or "
        "parametrize.remove_parametrizations) and the layer without nnx.SpectralNorm"
    )


WRAPPERS = (
    *(_weight_norm(inner, *style) for style in _STYLES for inner in CONVOLUTIONS),
    Layer(nnx.SpectralNorm, (), (), refuse=_refuse_spectral_norm),
)
