"""A trained model as the list of its operations, for whoever computes it without JAX: ONNX, a page in the browser.

Images are channels first between operations, and weights in torch's layout: what other runtimes have.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from jaxae.network.conv_vae import ConvVAE
from jaxae.network.dense_vae import DenseVAE
from jaxae.network.layers import Conv, ConvTranspose, Linear
from jaxae.network.models import Autoencoder, ConditionalVAE, Model

OperationKind = Literal[
    "channels_first",  # of images [batch, h, w, c]
    "channels_last",
    "flatten",
    "unflatten",  # to `shape` without the batch
    "linear",
    "conv",
    "deconv",
    "leaky_relu",  # of slope 0.01
    "relu",
    "tanh",
    "sigmoid",
    "class_planes",  # one-hot planes of the label behind the channels
    "class_vector",  # the one-hot label behind the features
]


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation.

    Attributes:
        kind: What is done.
        weight: Linear [out, in], conv [out, in, kh, kw], deconv [in, out, kh, kw], float32; None of any other.
        bias: One number for each channel or feature that comes out, float32.
        settings: What else is to be known: stride, padding, output_padding as pairs; shape; classes.
    """

    kind: OperationKind
    weight: Float[np.ndarray, "..."] | None = None
    bias: Float[np.ndarray, " out"] | None = None
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Operations:
    """A model's halves.

    Attributes:
        encoder: From images [batch, h, w, c] in [0, 1] to what the heads are given.
        heads: From there: the code of an autoencoder, the posterior's mean and log_var of a VAE.
        decoder: From codes to the reconstruction in [0, 1]: [batch, h, w, c], of an autoencoder [batch, features].
        latent: Number of dimensions of a code.
        classes: Number of classes of the condition; 0 if there is none.
    """

    encoder: list[Operation]
    heads: dict[str, list[Operation]]
    decoder: list[Operation]
    latent: int
    classes: int


def operations_of(model: Model) -> Operations:
    """The operations of a model, with copies of its weights in float32."""
    if isinstance(model, Autoencoder):
        return _of_autoencoder(model)
    config, classes = model.config, model.config.num_classes
    vector = [Operation("class_vector", settings={"classes": classes})] if classes else []
    if isinstance(model, ConditionalVAE):
        planes = [Operation("class_planes", settings={"classes": classes})] if classes else []
        convs = [model.enc_conv_1, model.enc_conv_2, model.enc_conv_3]
        encoder = [*planes, *_interleaved(convs, "leaky_relu"), Operation("flatten")]
        deconvs = [model.dec_deconv_1, model.dec_deconv_2, model.dec_deconv_3]
        inner = [_layer(model.dec_linear_1), Operation("unflatten", settings={"shape": (64, 2, 2)})]
        decoder = [*inner, *_interleaved(deconvs, "leaky_relu", last=model.config.output_leaky_relu)]
    elif isinstance(model, ConvVAE):
        own = model.config
        encoder = [*_interleaved(_numbered(model, "enc_conv"), own.activation), Operation("flatten"), *vector]
        shape = (own.widths[-1], *own.sides[-1])
        inner = [
            _layer(model.dec_linear_1),
            Operation(own.activation),
            Operation("unflatten", settings={"shape": shape}),
        ]
        decoder = [*inner, *_interleaved(_numbered(model, "dec_deconv"), own.activation, last=False)]
        decoder[-1] = _first_outputs(decoder[-1], own.channels)
    else:
        assert isinstance(model, DenseVAE)
        activation = model.config.activation
        encoder = [Operation("flatten"), *vector, *_interleaved(_numbered(model, "enc_linear"), activation)]
        back = _interleaved(_numbered(model, "dec_linear"), activation, last=False)
        height, width, channels = config.image_shape
        back[-1] = _first_outputs(back[-1], height * width * channels)
        decoder = [*back, Operation("unflatten", settings={"shape": (channels, height, width)})]
    heads = {"mean": [_layer(model.z_mean)], "log_var": [_layer(model.z_log_var)]}
    ends = [Operation("sigmoid"), Operation("channels_last")]
    encoder = [Operation("channels_first"), *encoder]
    return Operations(encoder, heads, [*vector, *decoder, *ends], config.num_latent, classes)


def _of_autoencoder(model: Autoencoder) -> Operations:
    config = model.config
    layers = _numbered(model, "linear")
    half = len(config.hidden)
    back = _interleaved(layers[half:], config.activation, last=False)
    # Its pixels are flattened as they come, channels last.
    encoder = [Operation("flatten"), *_interleaved(layers[:half], config.activation)]
    return Operations(encoder, {"code": []}, [*back, Operation("sigmoid")], config.code_size, 0)


def _numbered(model: Model, name: str) -> list[Any]:
    layers = []
    while (layer := getattr(model, f"{name}_{len(layers) + 1}", None)) is not None:
        layers.append(layer)
    return layers


def _interleaved(layers: list[Any], activation: OperationKind, *, last: bool = True) -> list[Operation]:
    """Layers with the activation after each, or after each but the last."""
    found = [one for layer in layers for one in (_layer(layer), Operation(activation))]
    return found if last else found[:-1]


def _first_outputs(operation: Operation, count: int) -> Operation:
    """The last layer of a decoder without the scales of pixels that it may say behind their means."""
    assert operation.weight is not None
    assert operation.bias is not None
    weight = operation.weight[:, :count] if operation.kind == "deconv" else operation.weight[:count]
    return replace(operation, weight=np.ascontiguousarray(weight), bias=operation.bias[:count])


def _layer(layer: Linear | Conv | ConvTranspose) -> Operation:
    kernel = np.asarray(layer.kernel[...], np.float32)
    weight = np.ascontiguousarray(np.moveaxis(kernel, (-2, -1), (1, 0)))
    bias = np.asarray(layer.bias[...], np.float32) if layer.bias is not None else None
    if isinstance(layer, Linear):
        return Operation("linear", weight, bias)
    settings: dict[str, Any] = {"stride": layer.stride, "padding": layer.padding}
    if isinstance(layer, ConvTranspose):
        return Operation("deconv", weight, bias, {**settings, "output_padding": layer.output_padding})
    return Operation("conv", weight, bias, settings)
