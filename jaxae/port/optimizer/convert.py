"""Optimizer state: moments and step counts between torch's optimizers and optax's chains."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Union, Unpack

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxae.errors import InputError
from jaxae.network.parameters import parameters_of
from jaxae.port.held import above_part
from jaxae.port.names import unwrap
from jaxae.port.optimizer.hyperparameters import Group, TorchOptimizer, read_beside, read_group, torch_group
from jaxae.port.optimizer.moments import chain, collect, fill
from jaxae.port.optimizer.torch_state import (
    frozen_names,
    frozen_paths,
    names_by_shape,
    names_of,
    parameter_names,
    read_states,
    torch_state,
    untied,
)
from jaxae.port.optimizer.trial import check_same_step
from jaxae.port.options import PortOptions
from jaxae.port.plan import make_plan, raise_problems
from jaxae.port.source import read_checkpoint
from jaxae.port.torch_checkpoint import optimizer_of, trained_of

if TYPE_CHECKING:
    import torch

# What an optimizer may be given as, and what it trains.
Optimizers = Union["torch.optim.Optimizer", Mapping[str, Any], str, Path]
Trained = Union["torch.nn.Module", Mapping[str, Any], Iterable[str]]


class OptimizerPort(NamedTuple):
    """An optimizer in optax.

    Attributes:
        tx: Chain that takes torch's steps; `optax.partition` where torch has several groups.
        state: State of the chain, which goes on where torch stopped.
        groups: Groups of parameters, which `optimizer_to_torch` needs on the way back.
        notes: Remarks on what was assumed.
    """

    tx: optax.GradientTransformation
    state: optax.OptState
    groups: tuple[Group, ...]
    notes: tuple[str, ...]


def optimizer_from_torch(
    module: nnx.Module,
    optimizer: Optimizers,
    model: Trained | None = None,
    *,
    kind: str | None = None,
    tx: optax.GradientTransformation | None = None,
    params: optax.Params | None = None,
    weights: str | None = None,
    allow: Iterable[str] = (),
    **options: Unpack[PortOptions],
) -> OptimizerPort:
    """One of torch's optimizers as torch left it, as an optax chain and its state.

    Args:
        module: The NNX module, its weights ported already.
        optimizer: A torch optimizer, its state_dict, or a training checkpoint (also as a file).
        model: What the optimizer trains: the torch module, its state_dict, or parameters' names in the order in which
            the optimizer was given them. A checkpoint holds it already. A state_dict tells the order of a single
            group only, that of `model.parameters()`.
        kind: Class of the optimizer, "Adam", where a state_dict does not tell.
        tx: A chain of your own, whose next step must be torch's; None builds one.
        params: The parameters as the chain will see them; None takes them as a nested dict.
        weights: Key of the state_dict that the optimizer trains, where a checkpoint holds several.
        allow: Names of classes, functions or modules whose objects in a file are left aside; nothing of them is run.
        **options: Names, flatten and unflatten of `PortOptions`.

    Raises:
        InputError: If optax cannot express an option, a group or a parameter; it names them.
    """
    is_torchs = kind is not None or type(optimizer).__module__.startswith("torch.optim")
    content, model, kind = _read(optimizer, model, kind, weights, allow)
    known, notes = parameter_names(content, optimizer, model)
    held = model if isinstance(model, Mapping) else getattr(model, "state_dict", dict)()
    plan = make_plan(module, held or [name for group in known for name in group], **options)
    clean = {full: short for short, full in plan.names.items()}
    groups = []
    for group, one in zip(content["param_groups"], known, strict=True):
        members = tuple(clean.get(name, name) for name in one)
        if isinstance(model, Mapping) and len(members) != len(group["params"]):
            # A state_dict has buffers too, and a tied parameter twice; and parameters that were left out.
            members = untied([name for name in members if name in plan.owners], plan.owners)
            if len(members) > len(group["params"]):
                members = names_by_shape(members, group["params"], content, plan.owners)
                notes.append(f"by their shapes the optimizer's parameters are {', '.join(members)}")
        if len(members) != (count := len(group["params"])):
            raise InputError(f"expected an optimizer of the {len(members)} parameters, got one of {count}")
        settings = read_group(group, kind, is_torchs=is_torchs)
        frozen = frozen_names(members, group["params"], content, model)
        beside = read_beside(group, settings)
        groups.append(Group(settings, members, tuple(frozen), beside))
        if frozen:
            notes.append(f"{', '.join(frozen)} had no gradient in torch (frozen, or unused): they stay as they are")
        if beside:
            notes.append(f"{', '.join(beside)} of the param_group change no step, and are carried in its group")
    moments, steps = read_states(plan, content, groups)
    still = frozen_paths(groups, plan.owners)
    told = [plan.owners[name].flax for group in groups for name in group.frozen if name in plan.owners]
    named = {above_part(path) for paths in told for path in paths}
    if left_out := [path for path in still if path not in named]:
        notes.append(f"{', '.join(left_out)} are in no group: they stay as they are")
    raise_problems("an optimizer that ports", plan.problems)
    params = parameters_of(module) if params is None else params
    built = chain(groups, plan.owners, still, steps)
    state = fill(built.init(params), moments, steps)
    if tx is not None:
        state = fill(tx.init(params), moments, steps)
        notes += check_same_step(tx, state, built, params, groups, moments, steps)
        built = tx
    return OptimizerPort(built, state, tuple(groups), tuple(notes))


def optimizer_to_torch(
    module: nnx.Module,
    state: optax.OptState,
    groups: TorchOptimizer | Sequence[Group],
    model: Trained | None = None,
    *,
    tx: optax.GradientTransformation | None = None,
    params: optax.Params | None = None,
    **options: Unpack[PortOptions],
) -> dict[str, Any]:
    """The state_dict of a torch optimizer that goes on where optax stopped.

    Args:
        module: The NNX module.
        state: optax's state, or `opt_state` of an `nnx.Optimizer`.
        groups: Groups of an `OptimizerPort`; or one optimizer's hyperparameters, for all parameters.
        model: For the latter, the torch module, its state_dict or the names of its parameters, in torch's order.
        tx: The chain, where its hyperparameters are to be held against `groups`.
        params: The parameters as the chain sees them; None takes them as a nested dict.
        **options: Names, flatten and unflatten of `PortOptions`.

    Raises:
        InputError: If the state has other moments than the optimizer, or a parameter has none.
    """
    if isinstance(groups, TorchOptimizer):
        if model is None:
            expected = "expected the torch module or its state_dict"
            raise InputError(f"{expected}, which tell the order of the optimizer's parameters, got None")
        groups = [Group(groups, tuple(unwrap(names_of(model))))]
    plan = make_plan(module, [name for group in groups for name in group.names], **options)
    if len(groups) == 1 and model is not None:  # a state_dict has buffers too
        only = tuple(name for name in groups[0].names if name in plan.owners)
        groups = [groups[0]._replace(names=untied(only, plan.owners))]
    found, steps = collect(state)
    states: dict[int, dict[str, Any]] = {}
    written = []
    for group in groups:
        numbers = range(len(states), len(states) + len(group.names))
        for number, name in zip(numbers, group.names, strict=True):
            states[number] = torch_state(plan, name, group, found, steps)
        written.append({**torch_group(group.settings), **group.beside, "params": list(numbers)})
    raise_problems("an optimizer that ports", plan.problems)
    if tx is not None:
        params = parameters_of(module) if params is None else params
        built = chain(groups, plan.owners, frozen_paths(groups, plan.owners), steps)
        check_same_step(tx, state, built, params, groups, found, steps)
    return {"state": {key: one for key, one in states.items() if one}, "param_groups": written}


def fill_optimizer(optimizer: nnx.Optimizer, moved: OptimizerPort) -> None:
    """Put a ported state into an `nnx.Optimizer`, in place.

    Args:
        optimizer: The `nnx.Optimizer`, made with the chain of `moved`, `wrt=nnx.Param`.
        moved: The result of `optimizer_from_torch` with `params=nnx.state(module, nnx.Param)`.

    Raises:
        InputError: If the two states are not of one form; nothing is changed then.
    """
    targets = jax.tree.leaves(optimizer.opt_state, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))
    values = jax.tree.leaves(moved.state)
    if [tuple(one.shape) for one in targets] != [value.shape for value in values]:
        counts = f"{len(targets)} arrays for {len(values)}"
        raise InputError(f"expected an nnx.Optimizer of the ported chain and parameters, got one with {counts}")
    for target, value in zip(targets, values, strict=True):
        target.set_value(jnp.array(value, copy=True))
    steps = collect(moved.state)[1].values()
    optimizer.step.set_value(jnp.asarray(max(steps, default=0), optimizer.step.dtype))


def _read(
    optimizer: Optimizers, model: Trained | None, kind: str | None, weights: str | None, allow: Iterable[str]
) -> tuple[Mapping[str, Any], Trained | None, str | None]:
    """The optimizer's state_dict, and as far as they are known what it trains and its class."""
    if isinstance(optimizer, str | Path):
        optimizer = read_checkpoint(optimizer, allow)
    if isinstance(optimizer, Mapping):
        content = optimizer_of(optimizer)
        if model is None and content is not optimizer:
            model = trained_of(optimizer, weights)
        return content, model, kind
    name = type(optimizer).__name__
    if hasattr(optimizer, "param_groups") and hasattr(optimizer, "state_dict"):
        return optimizer.state_dict(), model, kind or name
    raise InputError(f"expected a torch optimizer, its state_dict or a checkpoint, got {name}")
