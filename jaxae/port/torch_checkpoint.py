"""Training checkpoints as people save them in torch: weights, optimizer and more in one mapping."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from jaxae.errors import InputError, brief
from jaxae.port.names import AVERAGED, unwrap

_WEIGHTS = ("model_state_dict", "state_dict", "model_state", "model", "net", "network", "weights")
_OPTIMIZER = ("optimizer_state_dict", "optimizer_state", "optimizer", "optim", "opt")


_LEAVES = ("weight", "bias", "running_mean", "running_var", "in_proj_weight", "weight_ih_l0", "weight_g", "weight_v")
_DEEPEST = 3  # of keys above a state_dict


def weights_of(checkpoint: Mapping[Any, Any], name: str | None = None) -> Mapping[str, Any]:
    """The state_dict in a checkpoint, or the mapping itself where it is one.

    Args:
        checkpoint: The checkpoint.
        name: Key of the state_dict that is meant, or keys joined by dots; None where there is but one.

    Raises:
        InputError: If there is none, several of which none is named, or one whose tensors have other than names.
    """
    weights = _weights_of(checkpoint) if name is None else _named(checkpoint, name)
    if unnamed := [name for name in weights if not isinstance(name, str)]:
        raise InputError(f"expected a name of each tensor, got a {type(unnamed[0]).__name__} in a name's place")
    return weights


def trained_of(checkpoint: Mapping[Any, Any], name: str | None = None) -> Mapping[str, Any]:
    """The state_dict whose parameters an optimizer's numbers are: of several that have the same names, the first.

    Args:
        checkpoint: The checkpoint.
        name: Key of the state_dict that is meant, or keys joined by dots; None where there is but one.

    Raises:
        InputError: If there is none, or there are several of other names.
    """
    found = list(_candidates(checkpoint).values())
    names = [list(unwrap(name for name in map(str, one) if name != AVERAGED)) for one in found]
    alike = name is None and len(found) > 1 and all(one == names[0] for one in names)
    return found[0] if alike else weights_of(checkpoint, name)


def _weights_of(checkpoint: Mapping[Any, Any]) -> Mapping[Any, Any]:
    if not checkpoint or all(hasattr(value, "shape") for value in checkpoint.values()):
        return checkpoint
    found = _candidates(checkpoint)
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        told = " and ".join(f"{brief(name)!r} ({_told(one)})" for name, one in islice(found.items(), 4))
        way = f"say which, weights={brief(next(iter(found)))!r} (--weights), or pass that one"
        raise InputError(f"expected one state_dict in the checkpoint, got {told}: {way}")
    if any(hasattr(value, "shape") for value in checkpoint.values()):
        return checkpoint  # of which the port names what is no tensor
    raise InputError(f"expected a state_dict or a checkpoint that holds one, got entries {_names(checkpoint)}")


def _candidates(checkpoint: Mapping[Any, Any]) -> dict[str, Mapping[Any, Any]]:
    """What may be the weights in a checkpoint that is none itself, by names."""
    found = dict(_state_dicts(checkpoint))
    known = {name: one for name in _WEIGHTS if isinstance(one := checkpoint.get(name), Mapping) and one}
    if any(map(_is_weights, found.values())):
        known.pop("weights", None)  # of the classes, say
        found = {name: one for name, one in found.items() if _is_weights(one)}
        found |= {name: one for name, one in known.items() if any(hasattr(value, "shape") for value in one.values())}
    elif known:
        found = dict(list(known.items())[:1])
    return found


def _named(checkpoint: Mapping[Any, Any], name: str) -> Mapping[Any, Any]:
    found: Any = checkpoint.get(name, dict(_state_dicts(checkpoint)).get(name))
    if not isinstance(found, Mapping):
        there = list(dict(_state_dicts(checkpoint))) or list(checkpoint)
        raise InputError(f"expected the name of a state_dict in the checkpoint, out of {_names(there)}, got {name!r}")
    return found


def _state_dicts(
    checkpoint: Mapping[Any, Any], above: str = "", depth: int = 1
) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """All state_dicts in a checkpoint, by their keys joined by dots; an optimizer's is none."""
    for key, value in checkpoint.items():
        name = f"{above}{key}"
        if not isinstance(value, Mapping) or "param_groups" in value or not isinstance(key, str):
            continue
        if _is_state_dict(value) or _is_weights(value):
            yield name, value
        elif depth < _DEEPEST:
            yield from _state_dicts(value, f"{name}.", depth + 1)


def _is_state_dict(value: Mapping[Any, Any]) -> bool:
    return bool(value) and all(isinstance(name, str) and hasattr(one, "shape") for name, one in value.items())


def _is_weights(value: Mapping[Any, Any]) -> bool:
    """Whether it has tensors under such names as torch's layers give, and not much else."""
    shaped = [name for name, one in value.items() if isinstance(name, str) and hasattr(one, "shape")]
    return 2 * len(shaped) >= len(value) and any(name.rpartition(".")[2] in _LEAVES for name in shaped)


def _told(weights: Mapping[Any, Any]) -> str:
    first = brief(next(iter(weights), ""), 40)
    return f"{len(weights)} tensors, {first}" + (", ..." if len(weights) > 1 else "")


def optimizer_of(checkpoint: Mapping[Any, Any]) -> Mapping[str, Any]:
    """The optimizer's state_dict in a checkpoint, or the mapping itself where it is one.

    Raises:
        InputError: If there is none, or it is not made as torch makes them.
    """
    listed = checkpoint.get("optimizer_states")  # Lightning's
    if isinstance(listed, list | tuple) and len(listed) > 1:
        expected = "expected a checkpoint of one optimizer"
        raise InputError(f"{expected}, got {len(listed)}: pass one of its 'optimizer_states', and the model")
    for held in (checkpoint, *map(checkpoint.get, _OPTIMIZER), *(listed if isinstance(listed, list | tuple) else ())):
        if isinstance(held, Mapping) and {"state", "param_groups"} <= set(held):
            if not _is_optimizer(held["state"], held["param_groups"]):
                raise InputError(
                    "expected groups of numbered parameters and a state of each, got an optimizer of others"
                )
            return held
    raise InputError(f"expected an optimizer's state_dict, got entries {_names(checkpoint)}")


def _is_optimizer(states: object, groups: object) -> bool:
    """Whether these are states by the numbers of parameters, and groups of such numbers with plain settings."""
    parts = [*(states.values() if isinstance(states, Mapping) else [None]), *_listed(groups)]
    if not all(isinstance(part, Mapping) and all(isinstance(name, str) for name in part) for part in parts):
        return False
    return all(
        all(isinstance(number, int) for number in _listed(group.get("params")))
        and all(isinstance(name, str) for name in _listed(group.get("param_names", [])))
        and all(map(_is_setting, group.values()))
        for group in _listed(groups)
    )


def _listed(value: object) -> Sequence[Any]:
    """A list as it is; what is none, as a list of nothing that is asked for."""
    return value if isinstance(value, list | tuple) else [None]


def _is_setting(value: Any) -> bool:
    """Whether a value is a number, a text, nothing, or a list of them; torch holds some numbers in tensors."""
    if isinstance(value, list | tuple):
        return all(map(_is_setting, value))
    return value is None or isinstance(value, int | float | str) or getattr(value, "shape", None) == ()


def _names(names: Iterable[object]) -> str:
    told = (repr(name) if isinstance(name, str) else type(name).__name__ for name in islice(names, 8))
    return brief(", ".join(told), 200)
