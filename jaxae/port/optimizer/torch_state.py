"""A torch optimizer's state: whose parameters its numbers are, and what it keeps of each."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from jaxae.errors import InputError
from jaxae.port.arrays import from_tensor, tie_key, to_tensor
from jaxae.port.names import nearest
from jaxae.port.optimizer.hyperparameters import Group, Optimizer
from jaxae.port.optimizer.moments import Moments
from jaxae.port.plan import Plan, Transfer
from jaxae.port.torch_checkpoint import weights_of
from jaxae.port.weights import cast


def names_of(model: Any) -> list[str]:
    """Names of what may be parameters, ties left out, in torch's order."""
    if hasattr(model, "named_parameters"):
        return [name for name, _ in model.named_parameters()]
    if isinstance(model, Mapping):
        model = weights_of(model)
        seen: set[tuple] = set()
        found = []
        for name, value in model.items():
            key = tie_key(value)
            if key is None or key not in seen:
                found.append(name)
            if key is not None:
                seen.add(key)
        return found
    if isinstance(model, Iterable) and not isinstance(model, str):
        return list(model)
    raise InputError("expected a torch module, its state_dict or names of parameters, got "
                     f"{type(model).__name__}")  # fmt: skip


def parameter_names(
    content: Mapping[str, Any], optimizer: Any, model: Any
) -> tuple[list[tuple[str, ...]], list[str]]:
    """For each group the names of its parameters, as far as they are known."""
    groups = content["param_groups"]
    if all("param_names" in group for group in groups):
        return [tuple(group["param_names"]) for group in groups], []
    if hasattr(optimizer, "param_groups") and hasattr(model, "named_parameters"):
        ids = {id(one): name for name, one in reversed(list(model.named_parameters()))}
        members = [[id(one) for one in group["params"]] for group in optimizer.param_groups]
        if not all(one in ids for group in members for one in group):
            raise InputError("expected an optimizer of the module's parameters, got one of others")
        return [tuple(ids[one] for one in group) for group in members], []
    if model is None:
        raise InputError("expected the torch module or its state_dict beside the optimizer's, "
                         "whose parameters have numbers instead of names")  # fmt: skip
    order = names_of(model)
    count = sum(len(group["params"]) for group in groups)
    named = not isinstance(model, Mapping)
    if named and len(order) != count:
        raise InputError(f"expected names of the optimizer's {count} parameters, got {len(order)}")
    if not named and len(groups) > 1:
        raise InputError(f"expected the names of the parameters of {len(groups)} groups in order "
                         "(pass the torch optimizer and module, or the names): a state_dict does "
                         "not tell which group has which")  # fmt: skip
    starts = np.cumsum([0, *(len(group["params"]) for group in groups)])
    if named:
        pairs = pairwise(starts)
        return [tuple(order[begin:end]) for begin, end in pairs], []
    return [tuple(order)], ["the optimizer is taken to have been given model.parameters() in order"]


def owners_of(plan: Plan) -> dict[str, Transfer]:
    """For each torch parameter its transfer."""
    return {name: one for one in plan.transfers if one.trained for name in one.torch}


def trained_paths(plan: Plan) -> list[str]:
    """Paths of the variables that an optimizer sees."""
    return list(dict.fromkeys(path for one in plan.transfers if one.trained for path in one.flax))


def untied(names: Sequence[str], owners: Mapping[str, Transfer]) -> tuple[str, ...]:
    """Names with those of a variable that came before left out."""
    first: dict[tuple, str] = {}
    for name in names:
        first.setdefault(tuple(id(one) for one in owners[name].variables) + (
            (name,) if owners[name].row.forward_only else ()), name)  # fmt: skip
    return tuple(first.values())


def read_states(
    plan: Plan,
    owners: Mapping[str, Transfer],
    content: Mapping[str, Any],
    groups: Sequence[Group],
) -> tuple[dict[str, tuple[np.ndarray, ...]], dict[str, int]]:
    """Moments in Flax's layout and steps by the path of each variable; problems into the plan."""
    moments: Moments = {}
    steps: dict[str, int] = {}
    for (settings, names), written in zip(groups, content["param_groups"], strict=True):
        counts: dict[int, str] = {}
        for name, number in zip(names, written["params"], strict=True):
            transfer = owners.get(name)
            if transfer is None:
                plan.problems.append(f"the optimizer trains {name!r}, which the NNX module has not"
                                     + nearest(name, owners))  # fmt: skip
                continue
            if transfer.row.forward_only:
                plan.problems.append(f"{name!r} is one of {len(transfer.torch)} tensors that are "
                                     "one variable in Flax: that port is forward-only")  # fmt: skip
                continue
            arrays, step = _read_state(plan, name, transfer, settings, content["state"].get(number))
            counts.setdefault(step, name)
            for index, path in enumerate(transfer.flax):
                moments[path] = tuple(one[index] for one in arrays)
                steps[path] = step
        if len(counts) > 1:
            said = " and ".join(f"{name!r} at {step}" for step, name in list(counts.items())[:2])
            plan.problems.append(f"parameters of one group are at different steps: {said}; optax "
                                 "counts once")  # fmt: skip
    return moments, steps


def _read_state(
    plan: Plan, name: str, transfer: Transfer, settings: Optimizer, held: Mapping[str, Any] | None
) -> tuple[list[tuple[np.ndarray, ...]], int]:
    shape, dtype = transfer.flax_shape, transfer.variables[0].dtype
    if not held:
        empty = tuple(np.zeros(shape, dtype) for _ in transfer.flax)
        return [empty for _ in settings.moments], 0
    extra = set(held) - {"step", *settings.moments}
    buffer = held.get("momentum_buffer")
    if extra - ({"momentum_buffer"} if buffer is None else set()):
        plan.problems.append(f"the state of {name!r} has {', '.join(sorted(extra))}, which "
                             f"{settings.torch_name} with these options does not keep")  # fmt: skip
    arrays = []
    for moment in settings.moments:
        value = held.get(moment)
        if value is None:
            if moment != "momentum_buffer":
                plan.problems.append(f"the state of {name!r} has no {moment}")
            arrays.append(tuple(np.zeros(shape, dtype) for _ in transfer.flax))
            continue
        try:
            array = cast(f"{moment} of {name}", from_tensor(f"{moment} of {name}", value), None)
        except InputError as error:
            plan.problems.append(str(error))
            continue
        if array.shape != transfer.torch_shape:
            plan.problems.append(f"{moment} of {name!r} is {array.shape}, expected "
                                 f"{transfer.torch_shape}")  # fmt: skip
            continue
        arrays.append(transfer.row.to_flax(array, shape, transfer.sizes))
    return arrays if len(arrays) == len(settings.moments) else [], int(held.get("step", 0))


def torch_state(
    plan: Plan,
    owners: Mapping[str, Transfer],
    name: str,
    settings: Optimizer,
    found: Moments,
    steps: Mapping[str, int],
) -> dict[str, Any]:
    """What torch's optimizer keeps of one parameter; problems into the plan."""
    import torch

    transfer = owners.get(name)
    if transfer is None:
        plan.problems.append(f"the NNX module has no parameter for {name!r}{nearest(name, owners)}")
        return {}
    if transfer.row.forward_only:
        plan.problems.append(f"{name!r} shares its variable in Flax: that port is forward-only")
        return {}
    kept = [found.get(path, ()) for path in transfer.flax]
    if any(len(one) != len(settings.moments) for one in kept):
        plan.problems.append(f"optax keeps {len(kept[0])} moments of {transfer.flax[0]!r}, torch's "
                             f"{settings.torch_name} {len(settings.moments)}")  # fmt: skip
        return {}
    made: dict[str, Any] = {}
    if "exp_avg" in settings.moments:
        made["step"] = torch.tensor(float(steps[transfer.flax[0]]), dtype=torch.float32)
    for index, moment in enumerate(settings.moments):
        parts = tuple(one[index] for one in kept)
        made[moment] = to_tensor(transfer.row.to_torch(parts, transfer.sizes))
    return made
