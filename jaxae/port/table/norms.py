"""Rows of the table: normalisations."""

from operator import attrgetter
from typing import Any

from flax import nnx

from jaxae.port.row import Layer, Row, Setting

_NORM = (Row("weight", "scale", "features -> features"), Row("bias", "bias", "features -> features"))
_STATISTICS = (Row("running_mean", "mean", "features -> features"), Row("running_var", "var", "features -> features"))
_WIDTH = attrgetter("num_features", "num_features")


def _group_norm_width(layer: Any) -> tuple[int, int]:
    return (layer.num_groups * layer.group_size,) * 2


def _torch_epsilon(torch: Any) -> float:
    # RMSNorm's default of None is the machine epsilon of its input.
    if torch.eps is not None:
        return torch.eps
    import torch as framework

    weight = torch.weight
    return framework.finfo(framework.get_default_dtype() if weight is None else weight.dtype).eps


def _epsilon(default: float | str) -> Setting:
    return Setting("eps", lambda layer: float(layer.epsilon), _torch_epsilon, default)


_MOMENTUM = Setting(
    "momentum in torch's sense (1 - Flax's)",
    lambda layer: 1.0 - layer.momentum,
    lambda torch: None if torch.momentum is None else float(torch.momentum),
    0.1,
)
_GROUPS = Setting("groups", attrgetter("num_groups"), attrgetter("num_groups"))


def _refuse_axes(layer: Any) -> str | None:
    for name in ("axis", "reduction_axes", "feature_axes"):
        value = getattr(layer, name, -1)
        if value not in (-1, (-1,), [-1], None):
            return f"its {name} is {value}; torch's layer normalises the last axis of Flax's arrays"
    return None


def _refuse_torch_batch_norm(torch: Any) -> str | None:
    if getattr(torch, "track_running_stats", None) is False:
        return "it keeps no running statistics (track_running_stats=False); nnx.BatchNorm does"
    if getattr(torch, "momentum", 0.1) is None:
        return "momentum=None (a cumulative average) has no Flax counterpart"
    return None


def _refuse_torch_instance_norm(torch: Any) -> str | None:
    return "it keeps running statistics; nnx.InstanceNorm does not" if torch.track_running_stats else None


def _refuse_torch_axes(torch: Any) -> str | None:
    count = len(torch.normalized_shape)
    return f"it normalises {count} axes at once, Flax's layer the last one" if count > 1 else None


def _norm(flax: type, torch: tuple[str, ...], *settings: Setting, rows: tuple[Row, ...] = _NORM, **more: Any) -> Layer:
    return Layer(flax, torch, rows, settings, **{"refuse": _refuse_axes, "width": _WIDTH, **more})


NORMS = (
    _norm(
        nnx.BatchNorm,
        ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"),
        _epsilon(1e-5),
        _MOMENTUM,
        rows=_NORM + _STATISTICS,
        refuse_torch=_refuse_torch_batch_norm,
        counters=("num_batches_tracked",),
    ),
    _norm(nnx.LayerNorm, ("LayerNorm",), _epsilon(1e-5), refuse_torch=_refuse_torch_axes),
    _norm(nnx.GroupNorm, ("GroupNorm",), _GROUPS, _epsilon(1e-5), width=_group_norm_width),
    _norm(
        nnx.InstanceNorm,
        ("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"),
        _epsilon(1e-5),
        refuse_torch=_refuse_torch_instance_norm,
    ),
    _norm(
        nnx.RMSNorm,
        ("RMSNorm",),
        _epsilon("its input's machine epsilon"),
        rows=_NORM[:1],
        refuse_torch=_refuse_torch_axes,
    ),
)
