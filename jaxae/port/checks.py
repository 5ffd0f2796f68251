"""Checks of a plan against torch's side: names, shapes, types, settings, ties."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxae.port.arrays import is_float, tie_key
from jaxae.port.names import nearest, unwrap
from jaxae.port.plan import PortPlan, Transfer, shared_variables

if TYPE_CHECKING:
    import torch

# Endings of tensors that stand for a weight which torch computes anew at every call.
_REPARAMETRISED = {
    ".weight_orig": "spectral norm or pruning: torch.nn.utils.remove_spectral_norm or prune.remove",
    ".weight_g": "weight norm: torch.nn.utils.remove_weight_norm",
    (".original", ".original0"): "a parametrization: torch.nn.utils.parametrize.remove_parametrizations",
}
_QUANTISED = ("._packed_params", ".zero_point")


def layers(plan: PortPlan, module: "torch.nn.Module") -> None:
    """Hold each layer's type and settings against those of its torch layer."""
    # Their paths without wrappers, but with the parts that a tensor's own name without wrappers has.
    modules = module.named_modules(remove_duplicate=False)
    below = {next(iter(unwrap([path], plan.names)), ""): layer for path, layer in modules}
    for place in plan.places:
        path = place.template.partition("*")[0].rstrip(".")
        torch = below.get(path)
        if torch is None:
            continue  # its tensors are missing, and are named so
        name = type(torch).__name__
        known = {base.__name__ for base in type(torch).__mro__}
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
            ours, theirs = setting.flax(place.layer), setting.torch(torch)
            if not setting.agree(ours, theirs):
                plan.problems.append(f"{place.path!r}: {setting.name} is {theirs} in torch, but {ours} in Flax")
        if getattr(torch, "bias", True) is False:
            sums = [row for row in place.rows if row.forward_only]
            plan.absent |= {place.torch_name(name) for row in sums for name in row.torch_names}
            if sums:
                plan.notes.append(f"{path!r} has no bias; Flax's, which it always has, is set to zero")


def names(plan: PortPlan, tensors: Mapping[str, Any], *, untie: bool) -> None:
    """Collect everything missing, unexpected or mis-shaped, and ties that would be lost."""
    wanted: dict[str, tuple[int, ...]] = {}
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
    plan.problems += [sentence + nearest(name, unexpected) for name, sentence in missing.items()]
    plan.problems += [_why_unexpected(name, tensors[name], missing) for name in unexpected] + lost


def _check_shape(plan: PortPlan, transfer: Transfer, name: str, value: Any) -> None:
    came, expected = tuple(getattr(value, "shape", ())), transfer.torch_shape
    if came == expected:
        return
    place, local = transfer.place, transfer.row.torch_names[transfer.torch.index(name)]
    why = place.rule.refuse_tensors(place.layer, {local: np.broadcast_to(0, came)})
    shapes = f"expected {expected} for {' + '.join(transfer.flax)}, got {came}"
    plan.problems.append(f"{name!r} is refused: {why}" if why else f"mis-shaped {name!r}: {shapes}")


def _why_unexpected(name: str, value: Any, missing: Mapping[str, str]) -> str:
    for ending, remedy in _REPARAMETRISED.items():
        if f".{name}".endswith(ending):
            return f"{name!r} is refused: it belongs to {remedy} first"
    if f".{name}".endswith(_QUANTISED) or getattr(value, "is_quantized", False):
        return f"{name!r} is refused: it belongs to a quantised layer"
    if not hasattr(value, "shape"):
        return f"{name!r} is refused: it is no tensor but {type(value).__name__}"
    return f"unexpected {name!r} {tuple(value.shape)}{nearest(name, missing)}"


def tensors(plan: PortPlan, arrays: Mapping[str, np.ndarray]) -> None:
    """Collect tensors whose dtype or values Flax's layers cannot hold."""
    for place in plan.places:
        full = {name: place.torch_name(name) for row in place.rows for name in row.torch_names}
        local = {name: arrays[one] for name, one in full.items() if one in arrays}
        if why := place.rule.refuse_tensors(place.layer, local):
            plan.problems.append(f"{place} is refused: {why}")
    for transfer in plan.transfers:
        held = transfer.variables[0].dtype
        for name in transfer.torch:
            if name in arrays and is_float(arrays[name].dtype) != is_float(held):
                plan.problems.append(f"{name!r} is {arrays[name].dtype}, but {transfer.flax[0]!r} is {held}")


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
    lines = []
    for place in plan.places:
        said = []
        for setting in place.rule.settings:
            value, default = setting.flax(place.layer), setting.default
            differs = default is not None and not setting.agree(value, default)
            said.append(f"{setting.name} {value}" + (f" (torch's default: {default})" if differs else ""))
        if said:
            lines.append(f"{place.path}: {', '.join(said)}")
    return lines


def fit(
    plan: PortPlan, arrays: Mapping[str, np.ndarray], groups: Mapping[str, str], like: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays as a torch state_dict has them, by name and order; problems where they differ."""
    short = {full: name for name, full in plan.names.items()}
    there = [name for name in plan.names if name in arrays]
    twins: dict[object, str] = {key: name for name in there if (key := tie_key(like[plan.names[name]]))}
    fitted: dict[str, np.ndarray] = {}
    tied: dict[str, str] = {}
    extra = [name for name in arrays if name not in plan.names]
    for full, value in like.items():
        name = short[full]
        if name not in arrays:
            if (twin := twins.get(tie_key(value))) is None:
                plan.problems.append(f"missing {name!r} {tuple(value.shape)} of torch's{nearest(name, extra)}")
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
