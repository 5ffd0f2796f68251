"""The plan of a port: every tensor with its variable, or every reason why it cannot be.

A plan is made before anything is written. Weights and an optimizer's moments follow the same one.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from einops import EinopsError
from flax import nnx

from jaxae.errors import InputError
from jaxae.network.models import Autoencoder
from jaxae.network.vae import VAE
from jaxae.port.flatten import Flatten, Orders
from jaxae.port.names import Names, Paths, join, unwrap
from jaxae.port.row import Row
from jaxae.port.structure import Place, Structure, variable


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
    variables: tuple[nnx.Variable, ...]
    flax_shape: tuple[int, ...]
    torch_shape: tuple[int, ...]

    @property
    def trained(self) -> bool:
        """Whether an optimizer sees it."""
        return all(isinstance(one, nnx.Param) for one in self.variables)

    @property
    def ids(self) -> tuple[int, ...]:
        """Equal for two transfers that fill the same variables."""
        return tuple(map(id, self.variables))


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
    module: nnx.Module,
    available: Iterable[str] = (),
    *,
    names: Names = None,
    flatten: Flatten = None,
    unflatten: Flatten = None,
) -> PortPlan:
    """Pair a module's variables with torch's names, of which those available may be known.

    Only the module's structure is read. What cannot be paired becomes a problem of the plan.
    """
    if not isinstance(module, nnx.Module):
        raise InputError(f"expected an nnx.Module, got {type(module).__name__}")
    targets = [str(part) for path, _ in nnx.iter_modules(module) for part in path]
    known = unwrap(available, targets)
    paths = Paths(names, known)
    structure = Structure(module, paths)
    plan = PortPlan(structure.places, problems=structure.problems, names=known)
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
    plan.problems += orders.problems(_in_order(plan, list(known)))
    owners: dict[str, tuple[int, ...]] = {}
    for transfer in plan.transfers:
        for name in transfer.torch:
            if owners.setdefault(name, transfer.ids) != transfer.ids:
                plan.problems.append(f"two variables of the NNX module claim the torch tensor {name!r}")
    return plan


def _add_transfer(plan: PortPlan, place: Place, row: Row, sizes: dict[str, int], paths: Paths) -> None:
    flax = tuple(join(place.path, name) for name in row.flax_names)
    torch = tuple(place.torch_name(name) for name in row.torch_names)
    own = paths.given(flax[0]) if len(flax) == 1 == len(torch) else None
    variables = tuple(one for name in row.flax_names if (one := variable(place.layer, name)) is not None)
    shape = tuple(variables[0].shape)
    try:
        torch_shape = row.torch_shape(shape, sizes)
    except EinopsError:
        axes = row.pattern.partition("->")[2].strip()
        plan.problems.append(f"{flax[0]!r} is {shape}, not {axes!r}: stacked layers are not ported")
        return
    names = torch if own is None else (own,)
    plan.transfers.append(Transfer(place, row, sizes, names, flax, variables, shape, torch_shape))


def _in_order(plan: PortPlan, known: list[str]) -> list[Place]:
    """The layers in the order of declaration, as well as it is known."""
    # An NNX module that went through split and merge has its attributes sorted, a safetensors file its names; where
    # torch's names are not sorted they tell the order.
    if not known or known == sorted(known):
        return plan.places
    rank = {name: number for number, name in enumerate(known)}
    first = {place.path: len(rank) for place in plan.places}
    for transfer in plan.transfers:
        path = transfer.place.path
        first[path] = min([first[path], *(rank[name] for name in transfer.torch if name in rank)])
    return plan.places if len(rank) in first.values() else sorted(plan.places, key=lambda place: first[place.path])


def shared_variables(plan: PortPlan) -> dict[tuple[int, ...], list[Transfer]]:
    """Transfers by the variables that they fill: more than one where the module shares a weight."""
    groups: dict[tuple[int, ...], list[Transfer]] = defaultdict(list)
    for transfer in plan.transfers:
        groups[transfer.ids].append(transfer)
    return groups
