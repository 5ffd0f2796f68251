"""Layers whose weight torch computes from other tensors before each call."""

from enum import Enum
from typing import Any

from jaxae.translation.writer import Code, Holes, LayerSetting, RefusedError


class Raw(Enum):
    """What a layer's weight is."""

    PLAIN = "plain"
    WEIGHT_NORM = "weight norm"
    SPECTRAL_NORM = "spectral norm"


_REMOVE = "take its weight as it is by {} first"
_SETTLED = 15  # steps of the power iteration, as many as torch takes when it makes a norm


def raw(module: Any) -> Raw:
    """What a layer's weight is.

    Raises:
        RefusedError: If it is computed by something else than a norm of the weight, and how to get rid of that.
    """
    norm = _norm(module)
    if norm is None:
        return Raw.PLAIN
    if type(norm).__name__.endswith("SpectralNorm"):
        return Raw.SPECTRAL_NORM
    dim, rank = getattr(norm, "dim", 0), module.weight.ndim
    if dim is None or dim % rank or dim == -1:
        raise RefusedError(f"has a weight norm over other axes (dim={dim}); {remedy(Raw.WEIGHT_NORM)}")
    return Raw.WEIGHT_NORM


def remedy(norm: Raw) -> str:
    """What to do about a norm that cannot be written."""
    older = f"torch.nn.utils.remove_{norm.value.replace(' ', '_')}(layer)"
    return _REMOVE.format(f"{older} or torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')")


def in_norm(holes: Holes, module: Any, new: str) -> str:
    """The making of a layer within its norm: of one that has a norm."""
    if raw(module) is Raw.WEIGHT_NORM:
        return holes.call(holes.piece("WeightNorm"), Code(new))
    settings: Any = _norm(module)
    return holes.call(
        holes.piece("SpectralNorm"),
        Code(new),
        axis=LayerSetting(settings.dim % module.weight.ndim, 0),
        steps=LayerSetting(settings.n_power_iterations, 1),
        epsilon=LayerSetting(settings.eps, 1e-12),
        u_first=LayerSetting("parametrizations" in module._modules, True),
    )


def settle(network: Any) -> None:
    """Bring the vectors of a network's spectral norms to its weights, which were replaced: else it may divide by 0."""
    import torch

    for module in network.modules():
        try:
            spectral = raw(module) is Raw.SPECTRAL_NORM
        except RefusedError:  # which is told elsewhere
            continue
        training = module.training
        module.train()
        with torch.no_grad():
            for _ in range(_SETTLED if spectral else 0):
                if "parametrizations" in module._modules:
                    _ = module.weight
                else:
                    settings: Any = _norm(module)
                    settings(module, ())
        module.train(training)


def _norm(module: Any) -> object | None:
    """What computes the weight, by either of torch's styles.

    Raises:
        RefusedError: If it computes something else, or is no norm.
    """
    if "parametrizations" in module._modules:
        kinds = {name: [type(one).__name__ for one in each] for name, each in module.parametrizations.items()}
        if kinds in ({"weight": ["_WeightNorm"]}, {"weight": ["_SpectralNorm"]}):
            return module.parametrizations.weight[0]
        said = ", ".join(kind.lstrip("_") for each in kinds.values() for kind in each)
        calls = ", ".join(f"torch.nn.utils.parametrize.remove_parametrizations(layer, {name!r})" for name in kinds)
        raise RefusedError(f"has a parametrization ({said}); {_REMOVE.format(calls)}")
    hooks = [one for one in module._forward_pre_hooks.values() if type(one).__name__ in {"WeightNorm", "SpectralNorm"}]
    if len(hooks) > 1 or any(one.name != "weight" for one in hooks):
        names = ", ".join(one.name for one in hooks)
        raise RefusedError(f"has norms of {names}; {_REMOVE.format('torch.nn.utils.remove_weight_norm(layer, name)')}")
    if hooks:
        return hooks[0]
    if any(name.endswith("_mask") for name in module._buffers):
        raise RefusedError(f"is pruned by a mask; {_REMOVE.format('torch.nn.utils.prune.remove(layer, name)')}")
    return None
