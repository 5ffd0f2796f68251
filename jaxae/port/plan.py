"""The plan of a port: every tensor with its variable, or every reason why it cannot be.

A plan is made before anything is written. Weights and an optimizer's moments follow the same one.
"""

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
from einops import EinopsError
from flax import nnx

from jaxae.errors import InputError
from jaxae.network.models import Autoencoder
from jaxae.network.vae import VAE
from jaxae.port.flatten import Flatten, Orders
from jaxae.port.held import Held, identity, part_path, whole_of
from jaxae.port.linen.view import FlaxNetwork, viewed
from jaxae.port.names import AVERAGED, Names, Paths, join, unwrap, without_prefix
from jaxae.port.row import Row
from jaxae.port.stacks import unstacked
from jaxae.port.structure import Place, Structure


@dataclass(frozen=True)
class Transfer:
    """One row of one layer: which tensors become which variables.

    Attributes:
        place: The layer.
        row: The row, refined by a flatten.
        sizes: Sizes of the axes that the flatten split.
        torch: Full names of the torch tensors, without wrappers' prefixes.
        flax: Full paths of the variables.
        variables: The variables.
        flax_shape: Shape of each variable.
        torch_shape: Shape that each torch tensor must have.
    """

    place: Place
    row: Row
    sizes: dict[str, int]
    torch: tuple[str, ...]
    flax: tuple[str, ...]
    variables: tuple[Held, ...]
    flax_shape: tuple[int, ...]
    torch_shape: tuple[int, ...]

    @property
    def trained(self) -> bool:
        """Whether an optimizer sees it."""
        return all(isinstance(whole_of(one), nnx.Param) for one in self.variables)

    @property
    def ids(self) -> tuple[Hashable, ...]:
        """Equal for two transfers that fill the same variables."""
        return tuple(map(identity, self.variables))


@dataclass
class PortPlan:
    """The transfers of a module, and what stands against them.

    Attributes:
        places: The module's layers.
        transfers: In the order of the module's attributes.
        counters: Full names of torch's counters.
        problems: One sentence for each reason to refuse.
        notes: What was decided on the way.
        absent: torch tensors that a layer built without a bias rightly lacks.
        names: For each torch name without wrappers the name that it came under.
    """

    places: list[Place]
    transfers: list[Transfer] = field(default_factory=list)
    counters: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    absent: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)

    @cached_property
    def owners(self) -> dict[str, Transfer]:
        """For each torch parameter its transfer; asked once the plan is made."""
        return {name: one for one in self.transfers if one.trained for name in one.torch}


def raise_problems(expected: str, problems: Iterable[str]) -> None:
    """Raise one InputError, "expected (noun phrase), got: ...", that names every problem if any."""
    found = "; ".join(dict.fromkeys(problems))
    if found:
        raise InputError(f"expected {expected}, got: {found}")


def make_plan(
    module: FlaxNetwork,
    available: Iterable[str] = (),
    *,
    names: Names = None,
    flatten: Flatten = None,
    unflatten: Flatten = None,
    kinds: Mapping[str, Collection[str]] | None = None,
) -> PortPlan:
    """Pair a module's variables with torch's names, of which those available may be known.

    Only the module's structure is read. What cannot be paired becomes a problem of the plan.
    """
    module = viewed(module)
    if not isinstance(module, nnx.Module):
        raise InputError(f"expected an nnx.Module, got {type(module).__name__}")
    targets = [str(part) for path, _ in nnx.iter_modules(module) for part in path]
    known, prefix, averaged = unwrap(available, targets), "", {}
    if AVERAGED not in targets and all(full.startswith("module.") for full in known.values() if full != AVERAGED):
        averaged = {name: known.pop(name) for name in (AVERAGED,) if name in known}
    if names is None:
        known, prefix = without_prefix(known, targets)
    held: Mapping[str, Any] = available if isinstance(available, Mapping) else {}
    shapes = {
        short: tuple(held[full].shape)
        for short, full in known.items()
        # A lazy layer's tensor raises another error when it is asked for its shape.
        if full in held and not hasattr(held[full], "materialize") and hasattr(held[full], "shape")
    }
    paths = Paths(names, known, shapes, kinds)
    structure = Structure(module, paths)
    places, stacks = unstacked(structure.places, paths.available)
    plan = PortPlan(places, problems=structure.problems, notes=structure.notes + stacks, names=averaged | known)
    plan.counters += averaged
    plan.notes += [f"torch's names are those below {prefix!r}"] if prefix else []
    # The project's own models flatten by layers.flatten_as_torch.
    default = "CHW" if isinstance(module, Autoencoder | VAE) else None
    orders = Orders(flatten or default, unflatten)
    for place in plan.places:
        refined, problems = orders.refine(place)
        plan.problems += problems
        for row, sizes in refined:
            _add_transfer(plan, place, row, sizes, paths)
        plan.counters += [place.torch_name(name) for name in place.rule.counters]
    plan.notes += dict.fromkeys(paths.notes)
    for path in sorted(paths.unused):
        plan.problems.append(f"names has {path!r}, which is no layer or variable of the NNX module")
    in_order = _tells_order(plan, list(known), declared=structure.ordered)
    plan.problems += orders.problems(_in_order(plan, list(known)), in_order=in_order)
    owners: dict[str, tuple[Hashable, ...]] = {}
    for transfer in plan.transfers:
        for name in transfer.torch:
            if owners.setdefault(name, transfer.ids) != transfer.ids:
                plan.problems.append(f"two variables of the NNX module claim the torch tensor {name!r}")
    return plan


def _add_transfer(plan: PortPlan, place: Place, row: Row, sizes: dict[str, int], paths: Paths) -> None:
    flax = tuple(part_path(join(place.path, name), place.index) for name in row.flax_names)
    names = paths.tensors(place.path, place.template, row.flax_names, row.torch_names)
    torch = tuple(name.format(*place.index) if "{}" in name and place.index else name for name in names)
    variables = tuple(one for name in row.flax_names if (one := place.held(name)) is not None)
    shape = tuple(variables[0].shape)
    try:
        torch_shape = row.torch_shape(shape, sizes)
    except EinopsError:
        axes = row.pattern.partition("->")[2].strip()
        plan.problems.append(f"{flax[0]!r} is {shape}, not {axes!r}")
        return
    plan.transfers.append(Transfer(place, row, sizes, torch, flax, variables, shape, torch_shape))


def _in_order(plan: PortPlan, known: list[str]) -> list[Place]:
    """The layers in the order of declaration, as well as it is known."""
    # An NNX module that went through split and merge has its attributes sorted, a safetensors file its names; where
    # torch's names are not sorted they tell the order.
    places = [place for place in plan.places if place.rows]
    if not known or known == sorted(known):
        return places
    rank = {name: number for number, name in enumerate(known)}
    first = {place.path: len(rank) for place in places}
    for transfer in plan.transfers:
        path = transfer.place.path
        first[path] = min([first[path], *(rank[name] for name in transfer.torch if name in rank)])
    return places if len(rank) in first.values() else sorted(places, key=lambda place: first[place.path])


def _tells_order(plan: PortPlan, known: list[str], *, declared: bool) -> bool:
    """Whether the order of declaration is known: an abstract module sorts its attributes, safetensors its names."""
    abstract = not declared or any(
        isinstance(v.get_value(), jax.ShapeDtypeStruct) for one in plan.transfers for v in one.variables
    )
    paths = [place.path for place in plan.places]
    return not abstract or paths != sorted(paths) or (bool(known) and known != sorted(known))


def shared_variables(plan: PortPlan) -> dict[tuple[Hashable, ...], list[Transfer]]:
    """Transfers by the variables that they fill: more than one where the module shares a weight."""
    groups: dict[tuple[Hashable, ...], list[Transfer]] = defaultdict(list)
    for transfer in plan.transfers:
        groups[transfer.ids].append(transfer)
    return groups
