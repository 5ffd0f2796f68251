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


def weights_of(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state_dict in a checkpoint, or the mapping itself where it is one.

    Raises:
        InputError: If there is none, or several under unknown names.
    """
    if not checkpoint or any(hasattr(value, "shape") for value in checkpoint.values()):
        return checkpoint
    known = [name for name in _WEIGHTS if isinstance(checkpoint.get(name), Mapping)]
    nested = known[:1] or [name for name, value in checkpoint.items() if _is_state_dict(value)]
    if len(nested) == 1:
        return checkpoint[nested[0]]
    if nested:
        found = ", ".join(map(repr, nested))
        raise InputError(f"expected one state_dict in the checkpoint, got {found}: pass one of them")
    raise InputError(f"expected a state_dict or a checkpoint that holds one, got entries {_names(checkpoint)}")


def optimizer_of(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """The optimizer's state_dict in a checkpoint, or the mapping itself where it is one.

    Raises:
        InputError: If there is none.
    """
    for held in (checkpoint, *map(checkpoint.get, _OPTIMIZER)):
        if isinstance(held, Mapping) and {"state", "param_groups"} <= set(held):
            return held
    raise InputError(f"expected an optimizer's state_dict, got entries {_names(checkpoint)}")


def _names(checkpoint: Mapping[str, Any]) -> str:
    return ", ".join(repr(str(name)) for name in list(checkpoint)[:8])
