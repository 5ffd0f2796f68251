"""The plan of a port: every tensor with its variable, or every reason why it cannot be.

A plan is made before anything is written. Weights and an optimizer's moments follow the same one.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from flax import nnx

from jaxae.errors import InputError
from jaxae.network.models import Autoencoder, ConditionalVAE
from jaxae.port.flatten import Orders
from jaxae.port.names import Paths, join, unwrap
from jaxae.port.options import PortOptions
from jaxae.port.row import Row
from jaxae.port.structure import Place, Structure, variable

if TYPE_CHECKING:
    import torch


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
    """

    place: Place
    row: Row
    sizes: dict[str, int]
    torch: tuple[str, ...]
    flax: tuple[str, ...]
    variables: tuple[nnx.Variable, ...]

    @property
    def flax_shape(self) -> tuple[int, ...]:
        """Shape of each variable."""
        return tuple(self.variables[0].shape)

    @property
    def torch_shape(self) -> tuple[int, ...]:
        """Shape that each torch tensor must have."""
        return self.row.torch_shape(self.flax_shape, self.sizes)

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


def raise_problems(expected: str, problems: Iterable[str]) -> None:
    """Raise one InputError, "expected (noun phrase), got: ...", that names every problem if any."""
    found = "; ".join(dict.fromkeys(problems))
    if found:
        raise InputError(f"expected {expected}, got: {found}")


def make_plan(module: nnx.Module, options: PortOptions, available: Iterable[str] = ()) -> PortPlan:
    """Pair a module's variables with torch's names, of which those available may be known.

    Only the module's structure is read. What cannot be paired becomes a problem of the plan.
    """
    if not isinstance(module, nnx.Module):
        raise InputError(f"expected an nnx.Module, got {type(module).__name__}")
    targets = [str(part) for path, _ in nnx.iter_modules(module) for part in path]
    known = unwrap(available, targets)
    paths = Paths(options.names, known)
    structure = Structure(module, paths)
    plan = PortPlan(structure.places, problems=structure.problems, names=known)
    # The project's own models flatten by layers.flatten_as_torch.
    default = "CHW" if isinstance(module, Autoencoder | ConditionalVAE) else None
    orders = Orders.read(options.flatten or default, options.unflatten)
    for place in plan.places:
        refined, problems = orders.refine(place)
        plan.problems += problems
        for transfer in (_transfer(place, row, sizes, paths) for row, sizes in refined):
            if transfer.row.fits(transfer.flax_shape):
                plan.transfers.append(transfer)
            else:
                axes = transfer.row.pattern.partition("->")[2].strip()
                problem = f"{transfer.flax[0]!r} is {transfer.flax_shape}, not {axes!r}"
                plan.problems.append(f"{problem}: stacked layers are not ported")
        plan.counters += [place.torch_name(name) for name in place.rule.counters]
    plan.notes += paths.notes
    plan.problems += [f"names has {path!r}, which is no layer or variable of the NNX module" for path in paths.unused]
    plan.problems += [
        f"{path!r} is no layer of the NNX module, but a flatten or unflatten is said of it"
        for path in orders.unknown(plan.places)
    ]
    plan.problems += orders.unsaid(_in_order(plan, list(known)))
    plan.problems += _clashes(plan)
    return plan


def _transfer(place: Place, row: Row, sizes: dict[str, int], paths: Paths) -> Transfer:
    flax = tuple(join(place.path, name) for name in row.flax_names)
    torch = tuple(place.torch_name(name) for name in row.torch_names)
    own = paths.leaf(flax[0]) if len(flax) == 1 == len(torch) else None
    variables = [variable(place.layer, name) for name in row.flax_names]
    found = tuple(one for one in variables if one is not None)
    return Transfer(place, row, sizes, torch if own is None else (own,), flax, found)


def _in_order(plan: PortPlan, known: list[str]) -> list[Place]:
    """The layers in the order of declaration, as well as it is known.

    An NNX module that went through split and merge has its attributes sorted, a safetensors file its names; where
    torch's names are not sorted they tell the order.
    """
    if not known or known == sorted(known):
        return plan.places
    rank = {name: number for number, name in enumerate(known)}
    first = {place.path: len(rank) for place in plan.places}
    for transfer in plan.transfers:
        numbers = [rank[name] for name in transfer.torch if name in rank]
        first[transfer.place.path] = min([*numbers, first[transfer.place.path]])
    if len(rank) in first.values():
        return plan.places
    return sorted(plan.places, key=lambda place: first[place.path])


def _clashes(plan: PortPlan) -> list[str]:
    """Torch names that two different variables claim."""
    owners: dict[str, tuple[int, ...]] = {}
    problems = []
    for transfer in plan.transfers:
        for name in transfer.torch:
            if owners.setdefault(name, transfer.ids) != transfer.ids:
                problems.append(f"two variables of the NNX module claim the torch tensor {name!r}")
    return problems


def ignored_names(names: Collection[str], ignore: Iterable[str]) -> tuple[set[str], list[str]]:
    """Names that match a pattern of `ignore`, and a sentence for each pattern without a match."""
    patterns = (ignore,) if isinstance(ignore, str) else ignore
    found = {one: {name for name in names if fnmatchcase(name, one)} for one in patterns}
    problems = [f"ignore has {one!r}, which no tensor matches" for one in found if not found[one]]
    return set().union(*found.values()), problems


def shared_variables(plan: PortPlan) -> dict[tuple[int, ...], list[Transfer]]:
    """Transfers by the variables that they fill: more than one where the module shares a weight."""
    groups: dict[tuple[int, ...], list[Transfer]] = {}
    for transfer in plan.transfers:
        groups.setdefault(transfer.ids, []).append(transfer)
    return groups


def torch_layers(module: "torch.nn.Module", own: Iterable[str]) -> dict[str, "torch.nn.Module"]:
    """Submodules of a torch module by their paths without wrappers, which share their module's.

    Parts of paths that a tensor's own name without wrappers has are kept.
    """
    kept = list(own)
    layers = module.named_modules(remove_duplicate=False)
    return {next(iter(unwrap([path], kept)), ""): layer for path, layer in layers}
