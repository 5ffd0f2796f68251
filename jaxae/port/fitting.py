"""Fitting: which torch layers may be a Flax layer, by their kinds and the shapes of their tensors."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice, permutations, product
from typing import Any

import numpy as np
from einops import EinopsError
from flax import nnx

from jaxae.port.held import whole_of
from jaxae.port.names import Names, join
from jaxae.port.networks import TorchLayer
from jaxae.port.plan import PortPlan
from jaxae.port.row import Layer
from jaxae.port.structure import Place, is_weight
from jaxae.port.table.lookup import rules_for

_MOST_WAYS = 50  # in which what no call tells apart is named, where several are alike
# By Flax path what may be its name in torch, the likeliest first.
Ways = Mapping[str, Sequence[str]]


def fits(place: Place, layer: TorchLayer) -> bool:
    """Whether a torch layer may be what a Flax layer stands for: by its kind and the shapes of its tensors.

    A class of somebody's own may be of any kind.
    """
    rules = rules_for(place.layer) if isinstance(place.layer, nnx.Module) else []
    return any(_has_tensors_of(rule, place, layer) for rule in rules or [place.rule])


def _has_tensors_of(rule: Layer, place: Place, layer: TorchLayer) -> bool:
    if rule.torch and not layer.own and not set(rule.torch) & set(layer.kind):
        return False
    expected: dict[str, tuple[int, ...] | None] = {}
    summed: set[str] = set()
    for row in rule.rows_of(place.layer):
        if (held := place.held(row.flax_names[0])) is None:
            continue
        try:
            shape = row.torch_shape(tuple(held.shape), {})
        except EinopsError:
            return False
        expected |= dict.fromkeys(row.torch_names, shape)
        summed |= set(row.torch_names) if row.forward_only else set()
    ending = place.template.rpartition("*")[2]
    there = {name.removesuffix(ending): shape for name, shape in layer.shapes.items()}
    left = set(there) - set(expected) - set(rule.counters)
    return not left and all(there.get(n, shape if n in summed else None) == shape for n, shape in expected.items())


def attention_names(place: Place, composite: TorchLayer) -> list[dict[str, str]]:
    """Names under which a torch module with layers of its own may be `nnx.MultiHeadAttention`; none where it cannot be.

    Of a layer of all three projections and one of the outputs, or of four layers, in the order of declaration.
    """
    layer: Any = place.layer
    if not isinstance(layer, nnx.MultiHeadAttention):
        return []
    inner, into, kv = layer.qkv_features, layer.in_features, layer.in_kv_features
    weights = [name for name in composite.shapes if name.endswith(".weight")]
    wide = [composite.shapes[name] for name in weights]
    paths = [join(composite.path, name.removesuffix(".weight")) for name in weights]
    out = (layer.out_features, inner)
    found: list[dict[str, str]] = []
    if sorted(wide) == sorted([(3 * inner, into), out]):
        fused = wide.index((3 * inner, into))
        found += [{"qkv": paths[fused], "out": paths[1 - fused]}]
    if len(wide) == 4 and sorted(wide) == sorted([(inner, into), (inner, kv), (inner, kv), out]):
        ways = permutations(range(4))
        wanted = [(inner, into), (inner, kv), (inner, kv), out]
        fitting = [way for way in ways if [wide[number] for number in way] == wanted]
        names: list[str] = ["query", "key", "value", "out"]
        found += [dict(zip(names, [paths[number] for number in way], strict=True)) for way in fitting]
    named = [{join(place.path, name): path for name, path in one.items()} for one in found]
    return [{place.path: composite.path, **one} for one in named]


def own_names(plan: PortPlan, module: nnx.Module, tensors: Mapping[str, np.ndarray], given: Names) -> Ways:
    """For each variable of no layer of the table the torch tensors of its shape, the likest names first.

    Only those whose own name torch has not.
    """
    said = given if isinstance(given, Mapping) else {}
    taken = {id(whole_of(one)) for transfer in plan.transfers for one in transfer.variables}
    claimed = {name for transfer in plan.transfers for name in transfer.torch}
    found: dict[str, list[str]] = {}
    for parts, held in nnx.iter_graph(module):
        path = join(*map(str, parts))
        if is_weight(held) and id(held) not in taken and path not in said and path not in found:
            taken.add(id(held))
            fitting = [name for name, one in tensors.items() if one.shape == tuple(held.shape) and name not in claimed]
            if fitting:
                found[path] = sorted(fitting, key=partial(_unlike, path))
    return found


def recurrent_names(
    plan: PortPlan, loops: Sequence[str], modules: Mapping[str, Any], called: Sequence[str]
) -> dict[str, str]:
    """Templates of torch's names for the cells of several Flax loops that are one recurrent network in torch.

    Args:
        plan: Plan of the port.
        loops: Paths of the Flax loops in the order in which they run.
        modules: Torch's modules by path.
        called: Paths of torch's modules in the order in which they are first called.
    """
    cells = {loop: [p.path for p in plan.places if p.path.startswith(f"{loop}.") and not p.index] for loop in loops}
    waiting = [loop for loop in loops if cells[loop]]
    names: dict[str, str] = {}
    for path in called:
        torch = modules[path]
        if not hasattr(torch, "all_weights"):
            continue
        directions = 1 + torch.bidirectional
        mine, waiting = waiting[: torch.num_layers], waiting[torch.num_layers :]
        if torch.num_layers * directions == 1 or [len(cells[loop]) for loop in mine] != [directions] * torch.num_layers:
            continue
        for number, loop in enumerate(mine):
            ordered = sorted(cells[loop], key=lambda cell: "backward_rnn" in cell)
            for cell, ending in zip(ordered, ("", "_reverse"), strict=False):
                names[cell] = join(path, f"*_l{number}{ending}")
    return names


def stack_names(plan: PortPlan, layers: Sequence[TorchLayer], given: Names) -> Ways:
    """Templates of torch's paths for the layers of stacks, the likeliest first.

    Args:
        plan: Plan of the port.
        layers: Torch's layers in the order in which they run.
        given: Names that the user said, whose layers are left alone.
    """
    said = given if isinstance(given, Mapping) else {}
    wanted: dict[str, list[str]] = {}
    for place in plan.places:
        if place.index and place.rows and place.path not in wanted and not any(map(place.path.startswith, said)):
            wanted[place.path] = _templates([one for one in plan.places if one.path == place.path], layers)
    return wanted


def choices(ways: Ways) -> Iterator[dict[str, str]]:
    """Names by path, each used once, the likeliest first."""
    chosen = (dict(zip(ways, each, strict=True)) for each in product(*ways.values()))
    sound = (way for way in islice(chosen, 20 * _MOST_WAYS) if len(set(way.values())) == len(way))
    yield from islice(sound, _MOST_WAYS)


def _templates(places: Sequence[Place], layers: Sequence[TorchLayer]) -> list[str]:
    """Templates of which every number is a torch layer that fits, those with the likest names first."""
    depth = len(places[0].index)
    by_path = {layer.path: layer for layer in layers}
    found: dict[str, None] = {}
    for layer in layers:
        parts = layer.path.split(".")
        numbers = [at for at, part in enumerate(parts) if part.isdigit()]
        for chosen in product(numbers, repeat=depth):
            if list(chosen) != sorted(set(chosen)):
                continue
            template = ".".join("{}" if at in chosen else part for at, part in enumerate(parts))
            all_of_them = [by_path.get(template.format(*place.index)) for place in places]
            beyond = template.format(*np.max([place.index for place in places], axis=0) + 1)
            if beyond not in by_path and all(
                one is not None and fits(place, one) for place, one in zip(places, all_of_them, strict=True)
            ):
                found[template] = None

    return sorted(found, key=lambda template: _unlike(places[0].path, template.replace("{}.", "")))


def _unlike(path: str, name: str) -> float:
    return -difflib.SequenceMatcher(None, name, path).ratio()
