"""A torch optimizer's state: whose parameters its numbers are, and what it keeps of each."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from jaxae.errors import InputError, brief
from jaxae.port.arrays import copy_for_flax, tie_key, to_tensor
from jaxae.port.held import above_part, joined
from jaxae.port.names import nearest, unwrap
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


def frozen_names(names: Sequence[str], numbers: Sequence[int], content: Mapping[str, Any], model: object) -> list[str]:
    """Names of a group's parameters that stay as they are: those that the module freezes.

    Where no module is at hand, those that have had no gradient while others have.
    """
    if named := getattr(model, "named_parameters", None):
        frozen = set(unwrap(name for name, one in named() if not one.requires_grad))
        return [name for name in names if name in frozen]

    def started(number: int) -> bool:
        held = content["state"].get(number) or {}
        took_steps = _count(f"parameter {number}", held.get("step", 1)) > 0
        return took_steps and any(value is not None for value in held.values())

    if not any(map(started, content["state"])):
        return []
    return [name for name, number in zip(names, numbers, strict=True) if not started(number)]


def names_by_shape(
    names: Sequence[str], numbers: Sequence[int], content: Mapping[str, Any], owners: Mapping[str, Transfer]
) -> tuple[str, ...]:
    """Of a model's parameters those that the optimizer was given, in order, where the moments' shapes leave one way.

    Raises:
        InputError: If they leave none, or several.
    """
    states = [content["state"].get(number, {}).values() for number in numbers]
    wanted = [{tuple(value.shape) for value in state if ndim(value)} for state in states]
    fits = [[shapes <= {owners[name].torch_shape} for name in names] for shapes in wanted]
    # How many ways there are, up to 2, to find the numbers from i on among the names from j on.
    ways = [[int(i == len(numbers))] * (len(names) + 1) for i in range(len(numbers) + 1)]
    for i in reversed(range(len(numbers))):
        for j in reversed(range(len(names))):
            ways[i][j] = min(2, ways[i][j + 1] + fits[i][j] * ways[i + 1][j + 1])
    if ways[0][0] != 1:
        expected = f"expected the names of the optimizer's {len(numbers)} parameters in order (model=[...])"
        raise InputError(f"{expected}, got a state_dict of {len(names)}, and shapes do not tell which they are")
    chosen = []
    for j, name in enumerate(names):
        i = len(chosen)
        if i < len(numbers) and fits[i][j] and ways[i + 1][j + 1]:
            chosen.append(name)
    return tuple(chosen)


def ndim(value: object) -> int:
    """Number of a tensor's axes; 0 for what is none, such as a step."""
    return len(getattr(value, "shape", ()))


def frozen_paths(groups: Sequence[Group], owners: Mapping[str, Transfer]) -> list[str]:
    """Paths of the parameters that no group trains."""
    names = {name for group in groups for name in group.names if name not in group.frozen}
    trained = {above_part(path) for name in names if name in owners for path in owners[name].flax}
    paths = dict.fromkeys(above_part(path) for one in owners.values() for path in one.flax)
    return [path for path in paths if path not in trained]


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
    for group, written in zip(groups, content["param_groups"], strict=True):
        for name, number in zip(group.names, written["params"], strict=True):
            transfer = plan.owners.get(name)
            if transfer is None:
                suggestion = nearest(name, plan.owners)
                plan.problems.append(f"the optimizer trains {name!r}, which the NNX module has not{suggestion}")
                continue
            if transfer.row.forward_only:
                tensors = f"{len(transfer.torch)} tensors that are one variable in Flax"
                plan.problems.append(f"{name!r} is one of {tensors}: that port is forward-only")
                continue
            if name in group.frozen:
                continue
            arrays, step = _read_state(plan, name, transfer, group.settings, content["state"].get(number))
            for index, path in enumerate(transfer.flax):
                moments[path] = tuple(one[index] for one in arrays)
                steps[path] = step
    if apart := _divided(plan, groups, steps):
        plan.problems += apart
        return {}, {}
    return joined(moments), {above_part(path): step for path, step in steps.items()}


def _divided(plan: PortPlan, groups: Sequence[Group], steps: Mapping[str, int]) -> list[str]:
    """A sentence for each variable of stacked layers that torch does not train alike."""
    ways: dict[str, set[object]] = {}
    for name, transfer in plan.owners.items():
        own = [number for number, group in enumerate(groups) if name in group.names and name not in group.frozen]
        for path in transfer.flax if transfer.place.index else ():
            ways.setdefault(above_part(path), set()).add((*own, steps.get(path)))
    said = "holds stacked layers, of which torch leaves out some, or trains them in several groups or unequally often"
    return [f"{path!r} {said}: one variable has one way" for path, found in ways.items() if len(found) > 1]


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
    return arrays if len(arrays) == len(settings.moments) else [], _count(name, held.get("step", 0))


def _count(name: str, step: Any) -> int:
    """The number of steps taken, which torch keeps as a number or in a tensor and optax as an int32."""
    try:
        count = int(step)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # torch's is the last
        count = -1
    if not 0 <= count < 1 << 31:
        raise InputError(f"expected the number of steps that the state of {brief(name)!r} took, got {brief(step)}")
    return count


def torch_state(plan: PortPlan, name: str, group: Group, found: Moments, steps: Mapping[str, int]) -> dict[str, Any]:
    """What torch's optimizer keeps of one parameter, nothing of one that is frozen; problems into the plan."""
    import torch

    if name in group.frozen:
        return {}
    settings = group.settings

    transfer = plan.owners.get(name)
    if transfer is None:
        plan.problems.append(f"the NNX module has no parameter for {name!r}{nearest(name, plan.owners)}")
        return {}
    if transfer.row.forward_only:
        plan.problems.append(f"{name!r} shares its variable in Flax: that port is forward-only")
        return {}
    index = transfer.place.index
    kept = [tuple(one[index] for one in found.get(above_part(path), ())) for path in transfer.flax]
    if any(len(one) != len(settings.moments) for one in kept):
        theirs = f"torch's {type(settings).__name__} {len(settings.moments)}"
        plan.problems.append(f"optax keeps {len(kept[0])} moments of {transfer.flax[0]!r}, {theirs}")
        return {}
    made: dict[str, Any] = {}
    if settings.counts:
        made["step"] = torch.tensor(float(steps[above_part(transfer.flax[0])]), dtype=torch.float32)
    for index, moment in enumerate(settings.moments):
        made[moment] = to_tensor(transfer.row.to_torch(tuple(one[index] for one in kept), transfer.sizes))
    return made
