"""Checks of a plan against torch's side: names, shapes, types, settings, ties."""

import re
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxae.port.arrays import Deferred, FlaxCopies, dtype_name, is_float, tie_key, why_refused
from jaxae.port.names import nearest, unwrap
from jaxae.port.plan import PortPlan, Transfer, shared_variables
from jaxae.port.row import Layer
from jaxae.port.structure import Place

if TYPE_CHECKING:
    import torch

# Tensors that stand for a weight which torch computes anew at every call: their layer, the weight, and the remedy.
_REPARAMETRISED = {
    r"(.*\.|)(\w+)_orig": "spectral norm or pruning: torch.nn.utils.remove_spectral_norm or prune.remove",
    r"(.*\.|)(weight)_g": "weight norm: torch.nn.utils.remove_weight_norm",
    r"(.*\.|)parametrizations\.(\w+)\.original0?": (
        "a parametrization: torch.nn.utils.parametrize.remove_parametrizations"
    ),
}
_QUANTISED = ("._packed_params", ".zero_point")


def layers(plan: PortPlan, module: "torch.nn.Module") -> None:
    """Hold each layer's type and settings against those of its torch layer."""
    # Their paths without wrappers, but with the parts that a tensor's own name without wrappers has.
    modules = module.named_modules(remove_duplicate=False)
    below = {next(iter(unwrap([path], plan.names)), ""): layer for path, layer in modules}
    without_tensors = _pair_layers_without_tensors(plan, below)
    plan.problems += _stacked_cells(plan, below)
    for place in plan.places:
        path = without_tensors.get(place.path, _torch_path(place))
        torch = below.get(path)
        if torch is None:
            if place.rule.settings:  # else its tensors are missing, and are named so
                plan.notes.append(f"assumed, for no torch layer was found for it: {_settings(place)}")
            continue
        name = getattr(torch, "original_name", type(torch).__name__)  # of a module that torch.jit compiled
        known = {name, *(base.__name__ for base in type(torch).__mro__)}
        if place.rule.torch and not known & set(place.rule.torch):
            flax = type(place.layer).__name__
            plan.problems.append(f"{path!r} is {name} in torch, but {place.path!r} is {flax}")
            continue
        if why := place.rule.refuse_torch(torch):
            plan.problems.append(f"{path!r} ({name}) is refused: {why}")
            continue
        if note := place.rule.note_torch(torch):
            plan.notes.append(f"{path!r} {note}")
        for setting in place.rule.settings:
            ours = setting.flax(place.layer)
            try:
                theirs = setting.torch(torch)
            except AttributeError:  # a class of one's own
                plan.notes.append(f"{place.path!r}: {setting.name} {ours} is assumed, for {name} does not tell")
                continue
            if not setting.agree(ours, theirs):
                plan.problems.append(f"{place.path!r}: {setting.name} is {theirs} in torch, but {ours} in Flax")
        if getattr(torch, "bias", True) is False:
            sums = [row for row in place.rows if row.forward_only]
            plan.absent |= {place.torch_name(name) for row in sums for name in row.torch_names}
            if sums:
                plan.notes.append(f"{path!r} has no bias; Flax's, which it always has, is set to zero")


def _stacked_cells(plan: PortPlan, below: Mapping[str, "torch.nn.Module"]) -> list[str]:
    """A sentence for each recurrent network that has other layers and directions than the NNX module's cells."""
    templates: dict[str, set[str]] = defaultdict(set)
    for place in plan.places:
        templates[_torch_path(place)].add(place.template)
    problems = []
    for path, found in templates.items():
        torch: Any = below.get(path)
        if not hasattr(torch, "all_weights"):
            continue
        layers, directions = torch.num_layers, 1 + torch.bidirectional
        if len(found) != layers * directions:
            said = f"it stacks {layers} layers of {directions} directions, the NNX module has {len(found)} cells of it"
            last = f"{path or 'lstm'}.*_l{layers - 1}" + ("_reverse" if torch.bidirectional else "")
            kind = type(torch).__name__
            problems.append(f"{path!r} ({kind}) is refused: {said}; name each by a template like {last!r}")
    return problems


def _torch_path(place: Place) -> str:
    return place.template.partition("*")[0].rstrip(".")


def _pair_layers_without_tensors(plan: PortPlan, below: Mapping[str, "torch.nn.Module"]) -> dict[str, str]:
    """For each layer that has no tensors its torch layer's path, or one that leads nowhere.

    Nothing but the path and the type tells which layer it is, and a Sequential's numbers may have other gaps: where a
    type or a number does not fit, those below one parent are paired in order.
    """

    def fits(place: Place, layer: object) -> bool:
        return not {base.__name__ for base in type(layer).__mro__}.isdisjoint(place.rule.torch)

    groups: dict[tuple[str, tuple[str, ...]], list[Place]] = defaultdict(list)
    for place in plan.places:
        if not place.rows:
            groups[_torch_path(place).rpartition(".")[0], place.rule.torch].append(place)
    found: dict[str, str] = {}
    for (parent, _), places in groups.items():
        paths = [_torch_path(place) for place in places]
        if all(path in below and fits(place, below[path]) for place, path in zip(places, paths, strict=True)):
            continue
        numbered = [place for place, path in zip(places, paths, strict=True) if path.rpartition(".")[2].isdigit()]
        theirs = [
            path
            for path, layer in below.items()
            if path.rpartition(".")[0] == parent and fits(places[0], layer) and not layer.state_dict()
        ]
        paired = theirs if len(theirs) == len(numbered) else [f"{parent}.?"] * len(numbered)
        found |= {place.path: path for place, path in zip(numbered, paired, strict=True)}
    return found


def names(plan: PortPlan, tensors: Mapping[str, Any], *, untie: bool, buffers: Collection[str] = ()) -> None:
    """Collect everything missing, unexpected or mis-shaped, and ties that would be lost.

    Args:
        plan: The plan, whose problems and notes grow.
        tensors: torch's tensors.
        untie: Whether ties may be lost.
        buffers: Names of those that are known to be buffers.
    """
    wanted: dict[str, tuple[Hashable, ...]] = {}
    missing: dict[str, str] = {}
    for ids, transfers in shared_variables(plan).items():
        there = [one for one in transfers if one.torch[0] in tensors]
        for transfer in transfers:
            for name in transfer.torch:
                wanted[name] = ids
                if name in tensors:
                    _check_shape(plan, transfer, name, tensors[name])
                elif there and transfer not in there:
                    plan.notes.append(f"{name!r} is not there, but tied to {there[0].torch[0]!r}")
                elif name not in plan.absent:
                    missing[name] = f"missing {name!r} {transfer.torch_shape} for {' + '.join(transfer.flax)}"
    by_memory: dict[object, str] = {}
    lost = []
    for name, ids in wanted.items():
        key = tie_key(tensors.get(name))
        other = by_memory.setdefault(key, name) if key else name
        if wanted[other] != ids:
            said = f"{other!r} and {name!r} are one tensor in torch, but two variables in Flax"
            if untie:
                plan.notes.append(f"{said}, as untie=True allows")
            else:
                lost.append(f"{said}: share the variable, or say untie=True")
    unexpected = []
    for name in [name for name in tensors if name not in wanted and name not in plan.counters]:
        if tied := by_memory.get(tie_key(tensors[name])):
            plan.notes.append(f"{name!r} is the same tensor as {tied!r} in torch, and ports with it")
        else:
            unexpected.append(name)
    plan.problems += _refuse_computed_weights(missing, unexpected)
    shapes = {name: one.torch_shape for one in plan.transfers for name in one.torch if name in missing}
    fitting = {
        name: [other for other in unexpected if tuple(getattr(tensors[other], "shape", ())) == shape]
        for name, shape in shapes.items()
    }
    plan.problems += [sentence + nearest(name, fitting[name]) for name, sentence in missing.items()]
    for name in unexpected:
        fits = [one for one, fit in fitting.items() if name in fit]
        plan.problems.append(_why_unexpected(name, tensors[name], fits, buffers))
    plan.problems += lost
    plan.problems += _remedies(plan, fitting, unexpected)


def _remedies(plan: PortPlan, fitting: Mapping[str, Sequence[str]], unexpected: Sequence[str]) -> list[str]:
    """What to say where tensors are missing (with unexpected ones of their shapes), or unexpected, or both."""
    if not fitting:
        return [f"ignore={_grouped(unexpected)} leaves aside what is unexpected"] if unexpected else []
    if not unexpected:
        flax = [path for one in plan.transfers for path in one.flax if not set(one.torch).isdisjoint(fitting)]
        return [f"missing={_grouped(flax)} keeps what the NNX module has"]
    heads = {
        one.removesuffix(f".{name}") for name in list(fitting)[:1] for one in unexpected if one.endswith(f".{name}")
    }
    whole = sorted(one for one in heads if all(f"{one}.{name}" in there for name, there in fitting.items()))
    if whole:
        return [f"prefix={' or '.join(map(repr, whole))} has all that is missing"]
    return [_names_that_fit(plan, fitting)]


def _grouped(names: Iterable[str]) -> tuple[str, ...]:
    """Patterns of names, by what is above them where there are many."""
    names = tuple(names)
    return names if len(names) < 3 else tuple(dict.fromkeys(f"{one.rpartition('.')[0] or one}*" for one in names))


def _names_that_fit(plan: PortPlan, fitting: Mapping[str, Sequence[str]]) -> str:
    """The names to say for missing tensors, as far as unexpected ones of their shapes tell."""
    said: dict[str, str] = {}
    for transfer in plan.transfers:
        place = transfer.place
        if place.path in said or transfer.torch[0] not in fitting:
            continue
        prefix = place.template.partition("*")[0]
        ends = {name.removeprefix(prefix): set(fitting[name]) for name in fitting if name.startswith(prefix)}
        heads = [one.removesuffix(f".{end}") for end, there in ends.items() for one in there if one.endswith(f".{end}")]
        whole = [one for one in dict.fromkeys(heads) if all(f"{one}.{end}" in there for end, there in ends.items())]
        free = [one for one in sorted(whole) if one not in said.values()]
        if free:
            said[place.path] = free[0]
    if not said:
        return "names= says which torch layer is which, ignore= what is left aside; inputs= finds the names"
    return f"names={said} fits by shapes, where that is what is meant; inputs= finds and proves the names"


def without_shape(tensors: Mapping[str, Any]) -> list[str]:
    """A sentence for each tensor of a lazy layer, which has no shape yet."""
    return [str(why_refused(name, value)) for name, value in tensors.items() if hasattr(value, "materialize")]


def _refuse_computed_weights(missing: dict[str, str], unexpected: list[str]) -> list[str]:
    """A sentence for each weight that torch computes, in place of those for its parts, which are taken out."""
    problems = []
    for name in list(unexpected):
        for pattern, remedy in _REPARAMETRISED.items():
            if found := re.fullmatch(pattern, name):
                layer, weight = found.groups()
                problems.append(f"{name!r} is refused: it belongs to {remedy} first")
                missing.pop(layer + weight, None)
                parts = re.compile(rf"{re.escape(layer)}({weight}_(u|v|mask|orig|g)|parametrizations\.{weight}\..*)")
                unexpected[:] = [one for one in unexpected if not parts.fullmatch(one)]
    return problems


def _check_shape(plan: PortPlan, transfer: Transfer, name: str, value: Any) -> None:
    came, expected = tuple(getattr(value, "shape", ())), transfer.torch_shape
    if came == expected:
        return
    place, local = transfer.place, transfer.row.torch_names[transfer.torch.index(name)]
    why = place.rule.refuse_tensors(place.layer, {local: np.broadcast_to(0, came)})
    shapes = f"expected {expected} for {' + '.join(transfer.flax)}, got {came}"
    plan.problems.append(f"{name!r} is refused: {why}" if why else f"mis-shaped {name!r}: {shapes}")


def _why_unexpected(name: str, value: Any, missing: Iterable[str], buffers: Collection[str]) -> str:
    if f".{name}".endswith(_QUANTISED) or getattr(value, "is_quantized", False):
        return f"{name!r} is refused: it belongs to a quantised layer"
    if not hasattr(value, "shape"):
        return f"{name!r} is refused: it is no tensor but {type(value).__name__}"
    # A parameter is of floats.
    is_buffer = name in buffers or re.match("u?int|bool", dtype_name(getattr(value, "dtype", ""))) is not None
    kind = ", a buffer, no parameter" if is_buffer else ""
    return f"unexpected {name!r} {tuple(value.shape)}{kind}{nearest(name, missing)}"


def tensors(plan: PortPlan, arrays: FlaxCopies) -> None:
    """Collect tensors whose dtype or values Flax's layers cannot hold."""
    for place in plan.places:
        if place.rule.refuse_tensors is Layer.refuse_tensors:  # whose tensors need not be read
            continue
        full = {name: place.torch_name(name) for row in place.rows for name in row.torch_names}
        local = {name: arrays[one] for name, one in full.items() if one in arrays}
        if why := place.rule.refuse_tensors(place.layer, local):
            plan.problems.append(f"{place} is refused: {why}")
    for transfer in plan.transfers:
        held = transfer.variables[0].dtype
        for name in transfer.torch:
            if name in arrays and is_float(arrays.dtypes[name]) != is_float(held):
                plan.problems.append(f"{name!r} is {arrays.dtypes[name]}, but {transfer.flax[0]!r} is {held}")


def ties(plan: PortPlan, arrays: Mapping[str, np.ndarray]) -> None:
    """Collect weights that Flax shares, but that differ in torch."""
    for transfers in shared_variables(plan).values():
        there = [one for one in transfers if one.torch[0] in arrays]
        for other in there[1:]:
            for one, two in zip(there[0].torch, other.torch, strict=True):
                if arrays[one].tobytes() != arrays[two].tobytes():
                    shared = f"{there[0].flax[0]!r} and {other.flax[0]!r} are one variable"
                    plan.problems.append(f"{shared}, but {one!r} and {two!r} differ")


def assumed(plan: PortPlan) -> list[str]:
    """Settings that only a torch module would tell, as the Flax layers have them."""
    return [_settings(place) for place in plan.places if place.rule.settings]


def _settings(place: Place) -> str:
    said = []
    for setting in place.rule.settings:
        value, default = setting.flax(place.layer), setting.default
        differs = default is not None and not setting.agree(value, default)
        said.append(f"{setting.name} {value}" + (f" (torch's default: {default})" if differs else ""))
    return f"{place.path}: {', '.join(said)}"


def fit(
    plan: PortPlan,
    arrays: Mapping[str, Deferred | np.ndarray],
    groups: Mapping[str, str],
    like: Mapping[str, Any],
    same: Mapping[str, np.ndarray],
) -> tuple[dict[str, Deferred | np.ndarray], dict[str, str]]:
    """The arrays, and those that are as torch has them, by its names and in its order; problems where they differ."""
    if lazy := without_shape(like):
        plan.problems += lazy
        return {}, {}
    short = {full: name for name, full in plan.names.items()}
    there = [name for name in plan.names if name in arrays]
    twins: dict[object, str] = {key: name for name in there if (key := tie_key(like[plan.names[name]]))}
    fitted: dict[str, Deferred | np.ndarray] = {}
    tied: dict[str, str] = {}
    extra = [name for name in arrays if name not in plan.names]
    for full, value in like.items():
        name = short[full]
        if full in same:
            fitted[full] = same[full]
            continue
        if name not in arrays:
            if (twin := twins.get(tie_key(value))) is None:
                told = nearest(name, extra) or ": ignore= leaves it as it is"
                plan.problems.append(f"missing {name!r} {tuple(value.shape)} of torch's{told}")
                continue
            tied[full] = plan.names[twin]
            name = twin
        elif name in groups:
            tied[full] = plan.names.get(groups[name], groups[name])
        ours, theirs = arrays[name].shape, tuple(value.shape)
        if ours != theirs:
            plan.problems.append(f"mis-shaped {name!r}: torch has {theirs}, Flax gives {ours}")
        fitted[full] = arrays[name]
    for name in extra:
        suggestion = nearest(name, plan.names)
        plan.problems.append(f"unexpected {name!r} {arrays[name].shape}, which torch has not{suggestion}")
    return fitted, tied
