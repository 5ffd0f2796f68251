"""Training checkpoints as people save them in torch: weights, optimizer and more in one mapping."""

from collections.abc import Mapping
from typing import Any

from jaxae.errors import InputError

_WEIGHTS = ("model_state_dict", "state_dict", "model_state", "model", "net", "network", "weights")
_OPTIMIZER = ("optimizer_state_dict", "optimizer_state", "optimizer", "optim", "opt")


def _is_state_dict(value: Any) -> bool:
    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(name, str) and hasattr(one, "shape") for name, one in value.items())


def _is_optimizer(value: Any) -> bool:
    return isinstance(value, Mapping) and {"state", "param_groups"} <= set(value)


def weights_of(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state_dict in a checkpoint, or the mapping itself where it is one.

    Raises:
        InputError: If there is none, or several under unknown names.
    """
    tensors = [name for name, value in checkpoint.items() if hasattr(value, "shape")]
    for name in _WEIGHTS:
        if isinstance(checkpoint.get(name), Mapping) and not tensors:
            return checkpoint[name]
    nested = [name for name, value in checkpoint.items() if _is_state_dict(value)]
    if tensors or (not nested and not _is_optimizer(checkpoint) and not checkpoint):
        return checkpoint
    if len(nested) == 1:
        return checkpoint[nested[0]]
    if nested:
        found = ", ".join(map(repr, nested))
        raise InputError(f"expected one state_dict in the checkpoint, got {found}: pass one of them")
    names = ", ".join(repr(str(name)) for name in list(checkpoint)[:8])
    raise InputError(f"expected a state_dict or a checkpoint that holds one, got entries {names}")


def optimizer_of(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """The optimizer's state_dict in a checkpoint, or the mapping itself where it is one.

    Raises:
        InputError: If there is none.
    """
    if _is_optimizer(checkpoint):
        return checkpoint
    for name in _OPTIMIZER:
        if _is_optimizer(checkpoint.get(name)):
            return checkpoint[name]
    names = ", ".join(repr(str(name)) for name in list(checkpoint)[:8])
    raise InputError(f"expected an optimizer's state_dict, got entries {names}")
