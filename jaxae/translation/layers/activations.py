"""Rules for layers that keep nothing: each is its function, with its own attributes."""

from collections.abc import Callable, Mapping
from typing import Any

from jaxae.translation.rules import FUNCTIONS, LayerCode, layer
from jaxae.translation.writer import Holes, Tensor, Writer

_NEEDED: Any = object()  # stands for the default of an attribute that is always said


def _as_function(kinds: str, name: str, renamed: Mapping[str, str] | None = None, **defaults: Any) -> None:
    """Layers that call a function.

    Args:
        kinds: Their classes.
        name: The function.
        renamed: Attributes that the function calls otherwise.
        **defaults: Attributes, each with the function's default, at which it is left out.
    """

    def settings(module: Any) -> dict[str, Any]:
        said = {key: getattr(module, key, default) for key, default in defaults.items()}
        return {(renamed or {}).get(key, key): one for key, one in said.items() if not _same(one, defaults[key])}

    _as_called(kinds, name, settings)


def _same(one: Any, other: Any) -> bool:
    return one is other or (isinstance(one, int | float | str) and type(one) is type(other) and one == other)


def _as_called(kinds: str, name: str, settings_of: Callable[[Any], dict[str, Any]]) -> None:
    """Layers that call a function with settings of their own."""

    def rule(_: Holes, module: Any) -> LayerCode:
        kind, settings = FUNCTIONS[name], settings_of(module)

        def call(w: Writer, _: str, *args: Any) -> Any:
            return kind.write(w, *args, **settings)

        return LayerCode(call=call, channels=kind.channels)

    layer(*kinds.split())(rule)


def _over_axis(kinds: str, name: str) -> None:
    """A softmax: without `dim` torch takes the first axis or the second, by their number."""

    def rule(_: Holes, module: Any) -> LayerCode:
        kind = FUNCTIONS[name]

        def call(w: Writer, _: str, input: Tensor) -> Any:
            dim = module.dim if module.dim is not None else 0 if input.ndim in (0, 1, 3) else 1
            return kind.write(w, input, dim=dim)

        return LayerCode(call=call, channels=kind.channels)

    layer(kinds)(rule)


# Activations: what is done in place is Python's matter.
_as_function("ReLU", "relu")
_as_function("ReLU6", "relu6")
_as_function("LeakyReLU", "leaky_relu", negative_slope=0.01)
_as_function("ELU", "elu", alpha=1.0)
_as_function("SELU", "selu")
_as_function("CELU", "celu", alpha=1.0)
_as_function("GELU", "gelu", approximate="none")
_as_function("SiLU", "silu")
_as_function("Mish", "mish")
_as_function("Hardtanh", "hardtanh", min_val=-1.0, max_val=1.0)
_as_function("Hardswish", "hardswish")
_as_function("Hardsigmoid", "hardsigmoid")
_as_function("Hardshrink", "hardshrink", lambd=0.5)
_as_function("Softshrink", "softshrink", lambd=0.5)
_as_function("Tanhshrink", "tanhshrink")
_as_function("Threshold", "threshold", threshold=_NEEDED, value=_NEEDED)
_as_function("Softsign", "softsign")
_as_function("Softplus", "softplus", beta=1.0, threshold=20.0)
_as_function("LogSigmoid", "logsigmoid")
_as_function("Sigmoid", "sigmoid")
_as_function("Tanh", "tanh")
_as_function("GLU", "glu", dim=-1)
_as_called("Softmax2d", "softmax", lambda _: {"dim": -3})
_over_axis("Softmax", "softmax")
_over_axis("LogSoftmax", "log_softmax")
_over_axis("Softmin", "softmin")

# Pools and pads
for _rank in ("1d", "2d", "3d"):
    _window: dict[str, Any] = {"kernel_size": _NEEDED, "stride": None, "padding": 0, "ceil_mode": False}
    _as_function(f"MaxPool{_rank}", f"max_pool{_rank}", **_window, dilation=1, return_indices=False)
    _as_function(f"AvgPool{_rank}", f"avg_pool{_rank}", **_window, count_include_pad=True, divisor_override=None)
    _as_function(f"LPPool{_rank}", f"lp_pool{_rank}", norm_type=_NEEDED, **_window)
    _as_function(f"AdaptiveAvgPool{_rank}", f"adaptive_avg_pool{_rank}", output_size=_NEEDED)
    _as_function(f"AdaptiveMaxPool{_rank}", f"adaptive_max_pool{_rank}", output_size=_NEEDED, return_indices=False)
    _as_called(f"ZeroPad{_rank}", "pad", lambda one: {"pad": tuple(one.padding)})
    _as_called(f"ConstantPad{_rank}", "pad", lambda one: {"pad": tuple(one.padding), "value": one.value})
    _as_called(f"ReflectionPad{_rank}", "pad", lambda one: {"pad": tuple(one.padding), "mode": "reflect"})
    _as_called(f"ReplicationPad{_rank}", "pad", lambda one: {"pad": tuple(one.padding), "mode": "replicate"})
    _as_called(f"CircularPad{_rank}", "pad", lambda one: {"pad": tuple(one.padding), "mode": "circular"})

# Sizes and shapes
_RESIZED: dict[str, Any] = {"size": None, "scale_factor": None, "mode": "nearest", "align_corners": None}
_as_function("Upsample", "interpolate", **_RESIZED, recompute_scale_factor=None)
_as_function("UpsamplingNearest2d UpsamplingBilinear2d", "interpolate", **_RESIZED, recompute_scale_factor=None)
_as_function("PixelShuffle", "pixel_shuffle", upscale_factor=_NEEDED)
_as_function("PixelUnshuffle", "pixel_unshuffle", downscale_factor=_NEEDED)
_as_function("ChannelShuffle", "channel_shuffle", groups=_NEEDED)
_as_function("Flatten", "flatten", start_dim=_NEEDED, end_dim=_NEEDED)
_as_called("Unflatten", "unflatten", lambda one: {"dim": one.dim, "sizes": tuple(one.unflattened_size)})
_as_function("Fold", "fold", output_size=_NEEDED, kernel_size=_NEEDED, dilation=1, padding=0, stride=1)
_as_function("Unfold", "unfold", kernel_size=_NEEDED, dilation=1, padding=0, stride=1)

# Norms, distances and losses
_as_function("LocalResponseNorm", "local_response_norm", size=_NEEDED, alpha=1e-4, beta=0.75, k=1.0)
_as_function("CosineSimilarity", "cosine_similarity", dim=1, eps=1e-8)
_as_function("PairwiseDistance", "pairwise_distance", {"norm": "p"}, norm=2.0, eps=1e-6, keepdim=False)
_as_function("MSELoss", "mse_loss", reduction="mean")
_as_function("L1Loss", "l1_loss", reduction="mean")
_as_function("SmoothL1Loss", "smooth_l1_loss", reduction="mean", beta=1.0)
_as_function("HuberLoss", "huber_loss", reduction="mean", delta=1.0)
_as_function("KLDivLoss", "kl_div", reduction="mean", log_target=False)
_as_function("BCELoss", "binary_cross_entropy", weight=None, reduction="mean")
_as_function("BCEWithLogitsLoss", "binary_cross_entropy_with_logits", weight=None, reduction="mean", pos_weight=None)
_as_function("NLLLoss", "nll_loss", weight=None, ignore_index=-100, reduction="mean")
_as_function("CrossEntropyLoss", "cross_entropy", weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0)
