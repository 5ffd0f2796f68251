"""Layers whose weight torch computes from other tensors before each call."""

from enum import Enum
from typing import Any

from jaxae.translation.writer import RefusedError


class Raw(Enum):
    """What a layer's weight is."""

    PLAIN = 0
    WEIGHT_NORM = 1


_REMOVE = "take its weight as it is by {} first"
REMOVE_WEIGHT_NORM = _REMOVE.format(
    "torch.nn.utils.remove_weight_norm(layer) or torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')"
)


def raw(module: Any) -> Raw:
    """What a layer's weight is.

    Raises:
        RefusedError: If it is computed by something else than weight norm, and how to get rid of that.
    """
    if "parametrizations" in module._modules:
        return _parametrised(module)
    hooks = {type(one).__name__: one for one in module._forward_pre_hooks.values()}
    if "WeightNorm" in hooks:
        return _weight_norm(getattr(hooks["WeightNorm"], "dim", 0), module)
    if "SpectralNorm" in hooks:
        remedy = _REMOVE.format("torch.nn.utils.remove_spectral_norm(layer)")
        raise RefusedError(f"has a spectral norm, which Flax's differs from; {remedy}")
    if any(name.endswith("_mask") for name in module._buffers):
        remedy = _REMOVE.format("torch.nn.utils.prune.remove(layer, name)")
        raise RefusedError(f"is pruned by a mask; {remedy}")
    return Raw.PLAIN


def _parametrised(module: Any) -> Raw:
    parametrizations = module.parametrizations
    kinds = {name: [type(one).__name__ for one in each] for name, each in parametrizations.items()}
    if kinds == {"weight": ["_WeightNorm"]}:
        return _weight_norm(parametrizations.weight[0].dim, module)
    said = ", ".join(kind.lstrip("_") for each in kinds.values() for kind in each)
    calls = ", ".join(f"torch.nn.utils.parametrize.remove_parametrizations(layer, {name!r})" for name in kinds)
    raise RefusedError(f"has a parametrization ({said}); {_REMOVE.format(calls)}")


def _weight_norm(dim: int | None, module: Any) -> Raw:
    rank = module.weight.ndim
    if dim is None or dim % rank or dim == -1:
        raise RefusedError(f"has a weight norm over other axes (dim={dim}); {REMOVE_WEIGHT_NORM}")
    return Raw.WEIGHT_NORM
