"""Rules for norms."""

from typing import Any

from jaxae.translation.rules import LayerCode, layer
from jaxae.translation.writer import Holes, LayerSetting, Out, RefusedError, Tensor, Writer

_WEIGHTS = {"weight": "{}.scale[...]", "bias": "{}.bias[...]"}


def _affine(module: Any) -> dict[str, Any]:
    bias = getattr(module, "bias", None)
    return {
        "use_bias": LayerSetting(bias is not None, True),
        "use_scale": LayerSetting(module.weight is not None, True),
    }


def _batched(rank: int | None = None) -> Any:
    """The call of a norm whose channels are at the end, given a batch."""

    def call(w: Writer, layer: str, input: Tensor) -> Out:
        if rank is not None and input.ndim != rank + 2:
            raise w.refuse("is given an array without a batch; give it one by unsqueeze(0)")
        return Out(f"{layer}({w.last(input)})", last=input.ndim >= 3)

    return call


@layer("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")
def batch_norm(holes: Holes, module: Any) -> LayerCode:
    if not module.track_running_stats or module.running_mean is None:
        raise RefusedError(
            "has track_running_stats=False: it normalises by the batch in inference too, which nnx.BatchNorm does not; "
            "with running statistics, or as a GroupNorm, it can be written"
        )
    if module.momentum is None:
        raise RefusedError("has momentum=None, a mean of all batches; nnx.BatchNorm has a decaying one: give a number")
    more = {"momentum": LayerSetting(round(1 - module.momentum, 12), 0.99), "epsilon": LayerSetting(module.eps, 1e-5)}
    new = holes.call("nnx.BatchNorm", (module.num_features, "num_features"), **more, **_affine(module))
    weights = {**_WEIGHTS, "running_mean": "{}.mean[...]", "running_var": "{}.var[...]"}
    return LayerCode(new, _batched(), channels=True, weights=weights)


@layer("LayerNorm")
def layer_norm(holes: Holes, module: Any) -> LayerCode:
    shape: Any = tuple(module.normalized_shape)
    if len(shape) > 1:
        more = {"epsilon": LayerSetting(module.eps, 1e-5), **_affine(module)}
        weights = {"weight": "{}.weight[...]", "bias": "{}.bias[...]"}
        return LayerCode(holes.call(holes.piece("LayerNormOverAxes"), (shape, "shape"), **more), weights=weights)
    more = {"epsilon": LayerSetting(module.eps, 1e-6), **_affine(module)}
    return LayerCode(holes.call("nnx.LayerNorm", (shape[-1], "num_features"), **more), weights=_WEIGHTS)


@layer("RMSNorm")
def rms_norm(holes: Holes, module: Any) -> LayerCode:
    shape: Any = tuple(module.normalized_shape)
    scale = LayerSetting(module.weight is not None, True)
    if len(shape) > 1 or module.eps is None:
        more: dict[str, Any] = {"epsilon": LayerSetting(module.eps, None), "use_scale": scale}
        new = holes.call(holes.piece("RMSNormOverAxes"), (shape, "shape"), **more)
        return LayerCode(new, weights={"weight": "{}.weight[...]"})
    more = {"epsilon": LayerSetting(module.eps, 1e-6), "use_scale": scale}
    return LayerCode(holes.call("nnx.RMSNorm", (shape[-1], "num_features"), **more), weights=_WEIGHTS)


@layer("GroupNorm")
def group_norm(holes: Holes, module: Any) -> LayerCode:
    more = {
        "num_groups": LayerSetting(module.num_groups, 32),
        "epsilon": LayerSetting(module.eps, 1e-6),
        **_affine(module),
    }
    new = holes.call("nnx.GroupNorm", (module.num_channels, "num_features"), **more)
    return LayerCode(new, _batched(), channels=True, weights=_WEIGHTS)


@layer("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d")
def instance_norm(holes: Holes, module: Any) -> LayerCode:
    if module.track_running_stats:
        raise RefusedError(
            "has track_running_stats=True: it normalises by kept statistics in inference, which nnx.InstanceNorm has "
            "not; as a BatchNorm, or without them, it can be written"
        )
    more = {"epsilon": LayerSetting(module.eps, 1e-6), **_affine(module)}
    new = holes.call("nnx.InstanceNorm", (module.num_features, "num_features"), **more)
    return LayerCode(new, _batched(int(type(module).__name__[-2])), channels=True, weights=_WEIGHTS)
