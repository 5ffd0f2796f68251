"""A torch optimizer's state: whose parameters its numbers are, and what it keeps of each."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from jaxae.errors import InputError
from jaxae.port.arrays import copy_for_flax, tie_key, to_tensor
from jaxae.port.names import nearest
from jaxae.port.optimizer.hyperparameters import Group, TorchOptimizer
from jaxae.port.optimizer.moments import Moments
from jaxae.port.plan import PortPlan, Transfer
from jaxae.port.torch_checkpoint import weights_of


def names_of(model: object) -> list[str]:
    """Names of what may be parameters, ties left out, in torch's order."""
    if named := getattr(model, "named_parameters", None):
        return [name for name, _ in named()]
    if isinstance(model, Mapping):
        first: dict[object, str] = {}
        for name, value in weights_of(model).items():
            first.setdefault(tie_key(value) or name, name)
        return list(first.values())
    if isinstance(model, Iterable) and not isinstance(model, str):
        return list(model)
    raise InputError(f"expected a torch module, its state_dict or names of parameters, got {type(model).__name__}")


def parameter_names(
    content: Mapping[str, Any], optimizer: object, model: object
) -> tuple[list[tuple[str, ...]], list[str]]:
    """For each group the names of its parameters, as far as they are known."""
    groups = content["param_groups"]
    if all("param_names" in group for group in groups):
        return [tuple(group["param_names"]) for group in groups], []
    held, named = getattr(optimizer, "param_groups", None), getattr(model, "named_parameters", None)
    if held is not None and named:
        ids = {id(one): name for name, one in reversed(list(named()))}
        try:
            return [tuple(ids[id(one)] for one in group["params"]) for group in held], []
        except KeyError:
            raise InputError("expected an optimizer of the module's parameters, got one of others") from None
    if model is None:
        raise InputError(
            "expected the torch module or its state_dict beside the optimizer's, got the latter alone, whose "
            "parameters have numbers instead of names"
        )
    order = names_of(model)
    if isinstance(model, Mapping):
        if len(groups) > 1:
            raise InputError(
                f"expected the names of the parameters of {len(groups)} groups in order (pass the torch optimizer and "
                "module, or the names), got a state_dict, which does not tell which group has which"
            )
        return [tuple(order)], ["the optimizer is taken to have been given model.parameters() in order"]
    count = sum(len(group["params"]) for group in groups)
    if len(order) != count:
        raise InputError(f"expected names of the optimizer's {count} parameters, got {len(order)}")
    rest = iter(order)
    return [tuple(islice(rest, len(group["params"]))) for group in groups], []


def frozen_paths(groups: Sequence[Group], owners: Mapping[str, Transfer]) -> list[str]:
    """Paths of the parameters that no group trains."""
    trained = {path for group in groups for name in group.names if name in owners for path in owners[name].flax}
    return [path for path in dict.fromkeys(path for one in owners.values() for path in one.flax) if path not in trained]


def untied(names: Sequence[str], owners: Mapping[str, Transfer]) -> tuple[str, ...]:
    """Names with those of a variable that came before left out."""
    first: dict[object, str] = {}
    for name in names:
        first.setdefault(name if owners[name].row.forward_only else owners[name].ids, name)
    return tuple(first.values())


def read_states(plan: PortPlan, content: Mapping[str, Any], groups: Sequence[Group]) -> tuple[Moments, dict[str, int]]:
    """Moments in Flax's layout and steps by the path of each variable; problems into the plan."""
    moments: Moments = {}
    steps: dict[str, int] = {}
    for (settings, names), written in zip(groups, content["param_groups"], strict=True):
        counts: dict[int, str] = {}
        for name, number in zip(names, written["params"], strict=True):
            transfer = plan.owners.get(name)
            if transfer is None:
                suggestion = nearest(name, plan.owners)
                plan.problems.append(f"the optimizer trains {name!r}, which the NNX module has not{suggestion}")
                continue
            if transfer.row.forward_only:
                tensors = f"{len(transfer.torch)} tensors that are one variable in Flax"
                plan.problems.append(f"{name!r} is one of {tensors}: that port is forward-only")
                continue
            arrays, step = _read_state(plan, name, transfer, settings, content["state"].get(number))
            counts.setdefault(step, name)
            for index, path in enumerate(transfer.flax):
                moments[path] = tuple(one[index] for one in arrays)
                steps[path] = step
        if len(counts) > 1:
            two = " and ".join(f"{name!r} at {step}" for step, name in islice(counts.items(), 2))
            plan.problems.append(f"parameters of one group are at different steps: {two}; optax counts once")
    return moments, steps


def _read_state(
    plan: PortPlan, name: str, transfer: Transfer, settings: TorchOptimizer, held: Mapping[str, Any] | None
) -> tuple[list[tuple[np.ndarray, ...]], int]:
    shape, dtype = transfer.flax_shape, transfer.variables[0].dtype
    empty = tuple(np.zeros(shape, dtype) for _ in transfer.flax)
    if not held:
        return [empty for _ in settings.moments], 0
    extra = sorted(set(held) - {"step", *settings.moments})
    if extra and (extra != ["momentum_buffer"] or held["momentum_buffer"] is not None):
        kind = f"{type(settings).__name__} with these options"
        plan.problems.append(f"the state of {name!r} has {', '.join(extra)}, which {kind} does not keep")
    arrays = []
    for moment in settings.moments:
        if held.get(moment) is None:
            if moment != "momentum_buffer":
                plan.problems.append(f"the state of {name!r} has no {moment}")
            arrays.append(empty)
            continue
        array = copy_for_flax(f"{moment} of {name}", held[moment], None, plan.problems)
        if array is None:
            continue
        if array.shape == transfer.torch_shape:
            arrays.append(transfer.row.to_flax(array, shape, transfer.sizes))
        else:
            plan.problems.append(f"{moment} of {name!r} is {array.shape}, expected {transfer.torch_shape}")
    return arrays if len(arrays) == len(settings.moments) else [], int(held.get("step", 0))


def torch_state(
    plan: PortPlan, name: str, settings: TorchOptimizer, found: Moments, steps: Mapping[str, int]
) -> dict[str, Any]:
    """What torch's optimizer keeps of one parameter; problems into the plan."""
    import torch

    transfer = plan.owners.get(name)
    if transfer is None:
        plan.problems.append(f"the NNX module has no parameter for {name!r}{nearest(name, plan.owners)}")
        return {}
    if transfer.row.forward_only:
        plan.problems.append(f"{name!r} shares its variable in Flax: that port is forward-only")
        return {}
    kept = [found.get(path, ()) for path in transfer.flax]
    if any(len(one) != len(settings.moments) for one in kept):
        theirs = f"torch's {type(settings).__name__} {len(settings.moments)}"
        plan.problems.append(f"optax keeps {len(kept[0])} moments of {transfer.flax[0]!r}, {theirs}")
        return {}
    made: dict[str, Any] = {}
    if "exp_avg" in settings.moments:
        made["step"] = torch.tensor(float(steps[transfer.flax[0]]), dtype=torch.float32)
    for index, moment in enumerate(settings.moments):
        made[moment] = to_tensor(transfer.row.to_torch(tuple(one[index] for one in kept), transfer.sizes))
    return made
