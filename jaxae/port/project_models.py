"""The project's own models, known by their tensors."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from jaxae.config import AutoencoderConfig, ConditionalVAEConfig, ConvVAEConfig, DenseVAEConfig, ModelConfig, RunConfig
from jaxae.errors import InputError, brief
from jaxae.network.models import parameter_shapes
from jaxae.network.parameters import named_leaves
from jaxae.port.names import own_names
from jaxae.port.source import WeightSource
from jaxae.storage import documents

Shapes = dict[str, tuple[int, ...]]

_LAYER = re.compile(r"linear_\d+|(enc|dec|z)_\w+")  # of the project's models

# torch_ref's names of settings where they differ from jaxae's.
_RENAMED = {"num_hidden_1": "hidden"}


def recognise(source: WeightSource) -> ModelConfig:
    """The settings of the model whose weights a file holds.

    What tensors do not show (the activation, the last leaky_relu) is read from what the file says of itself, else it
    is the preset's.

    Raises:
        InputError: If it is none of the project's models, or the file says another.
    """
    tensors = source.tensors.items()
    if strange := [f"{name!r} of {type(value).__name__}" for name, value in tensors if not hasattr(value, "shape")]:
        raise InputError(f"expected tensors alone among the weights, got {brief(', '.join(strange), 200)}")
    shapes = _in_flax(source)
    said = _said(source)
    pixels = {name: said[name] for name in ("likelihood", "scale", "scale_value") if name in said}
    config = (
        _autoencoder(shapes)
        or _conv_vae(shapes, said, pixels)
        or _conditional_vae(shapes)
        or _dense_vae(shapes, pixels)
    )
    if config is None or _expected(config) != shapes:
        names = brief(", ".join(sorted(shapes)[:4]), 160)
        raise InputError(
            f"expected one of jaxae's models, got tensors {names}, ... of another: "
            "name your network by --model package.module:factory"
        )
    full = dataclasses.replace(config, **{name: said[name] for name in vars(config) if name in said})
    if _expected(full) != shapes:
        raise InputError(f"expected the tensors of {full}, as the file says, got those of {config}")
    return full


def settings_of(config: ModelConfig) -> dict[str, Any]:
    """Settings as plain JSON values, for a file's metadata."""
    return {"kind": type(config).__name__, **dataclasses.asdict(config)}


def _in_flax(source: WeightSource) -> Shapes:
    """Shapes under Flax's names, by the axes of the layers that the models are made of."""
    shapes: Shapes = {}
    own = [part for name in source.tensors for part in name.split(".") if _LAYER.fullmatch(part)]
    for short, name in own_names(source.tensors, own).items():
        shape = tuple(getattr(source.tensors[name], "shape", ()))
        if source.layout == "torch" and short.endswith(".weight"):
            short = f"{short.removesuffix('weight')}kernel"
            # A convolution's kernel and a transposed one's are stored the same way round.
            shape = (*shape[2:], *reversed(shape[:2]))
        shapes[short] = shape
    return shapes


def _expected(config: ModelConfig) -> Shapes:
    return {name: tuple(leaf.shape) for name, leaf in named_leaves(parameter_shapes(config)).items()}


def _autoencoder(shapes: Shapes) -> AutoencoderConfig | None:
    names = [f"linear_{number}.kernel" for number in range(1, len(shapes) + 1)]
    kernels = [shapes[name] for name in names if len(shapes.get(name, ())) == 2]
    if not kernels or len(kernels) % 2:
        return None
    hidden = tuple(out for _, out in kernels[: len(kernels) // 2])
    return AutoencoderConfig(kernels[0][0], hidden)


def _conditional_vae(shapes: Shapes) -> ConditionalVAEConfig | None:
    first, last = shapes.get("enc_conv_1.kernel", ()), shapes.get("dec_deconv_3.kernel", ())
    code = shapes.get("z_mean.bias", ())
    if len(first) != 4 or len(last) != 4 or len(code) != 1:
        return None
    return ConditionalVAEConfig(code[0], first[2] - 1, reconstruct_condition=last[2] > 1)


def _conv_vae(shapes: Shapes, said: Mapping[str, Any], pixels: dict[str, Any]) -> ConvVAEConfig | None:
    """Kernels of 4 by 4 alone; the sides are what the file says, else those of a square that never was odd.

    What pixels are taken for is what the file says, else the preset's.
    """
    kernels = [shapes.get(f"enc_conv_{number}.kernel", ()) for number in range(1, len(shapes) + 1)]
    kernels = [kernel for kernel in kernels if len(kernel) == 4]
    code, linear = shapes.get("z_mean.bias", ()), shapes.get("dec_linear_1.kernel", ())
    if not kernels or any(kernel[:2] != (4, 4) for kernel in kernels) or len(code) != 1 or len(linear) != 2:
        return None
    widths = tuple(kernel[3] for kernel in kernels)
    side = math.isqrt(linear[1] // widths[-1]) << len(widths)
    height, width = (said.get(name, side) for name in ("height", "width"))
    if not all(isinstance(size, int) and 0 < size < 1 << 16 for size in (height, width)):
        return None
    if min(height, width) >> len(widths) < 1 or linear[0] < code[0]:
        return None
    classes = linear[0] - code[0]
    sizes = {"height": height, "width": width, "channels": kernels[0][2], "widths": widths}
    return ConvVAEConfig(code[0], classes, **sizes, **pixels)


def _dense_vae(shapes: Shapes, pixels: dict[str, Any]) -> DenseVAEConfig | None:
    biases = [shapes.get(f"enc_linear_{number}.bias", ()) for number in range(1, len(shapes) + 1)]
    hidden = tuple(bias[0] for bias in biases if len(bias) == 1)
    code, first = shapes.get("z_mean.bias", ()), shapes.get("enc_linear_1.kernel", ())
    if not hidden or len(code) != 1 or len(first) != 2 or first[0] < 28 * 28:
        return None
    return DenseVAEConfig(code[0], first[0] - 28 * 28, hidden=hidden, **pixels)


def _said(source: WeightSource) -> dict[str, Any]:
    """Settings that the file states beside its tensors."""
    said: Any = {}
    metadata: Mapping[str, Any] = source.metadata
    try:
        if "config" in metadata:
            return dataclasses.asdict(RunConfig.from_json(documents.parse(metadata["config"])).model)
        if "model" in metadata:
            said = documents.parse(metadata["model"])
        elif source.content is not None:
            said = source.content.get("settings", {})
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"expected settings as JSON in the metadata, got: {brief(error, 200)}") from error
    if not isinstance(said, Mapping):
        raise InputError(f"expected settings as a mapping in the file, got {type(said).__name__}")
    return {_RENAMED.get(name, name): value for name, value in said.items() if isinstance(name, str)}
