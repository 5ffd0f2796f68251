"""What a port leaves as it is, as asked: torch tensors that are ignored, NNX variables that torch lacks."""

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import jax
import numpy as np

from jaxae.port.arrays import Deferred, from_tensor, why_refused
from jaxae.port.plan import PortPlan


def ignored(plan: PortPlan, names: Collection[str], patterns: Iterable[str]) -> set[str]:
    """The torch tensors to leave aside; a problem of each pattern that none matches."""
    found = _matching(plan, "ignore", "tensor", names, patterns)
    plan.notes += [f"{name!r} is ignored, as asked" for name in sorted(found)]
    return found


def keep(plan: PortPlan, tensors: Collection[str], patterns: Iterable[str]) -> None:
    """Take out of a plan the variables that torch lacks, which keep their values; problems where it has them."""
    names = {name for one in plan.transfers for name in (*one.flax, *one.torch)}
    found = _matching(plan, "missing", "variable", names, patterns)
    kept = [one for one in plan.transfers if not found.isdisjoint((*one.flax, *one.torch))]
    for one in kept:
        told = " and ".join(map(repr, one.flax))
        there = [name for name in one.torch if name in tensors]
        if there:
            plan.problems.append(f"{there[0]!r} is there, though missing= keeps {told}: ignore= leaves it aside")
        elif any(isinstance(variable.get_value(), jax.ShapeDtypeStruct) for variable in one.variables):
            plan.problems.append(f"{told} is abstract: it has no value to keep")
        plan.notes.append(f"{told} keeps its value, as asked")
    taken = set(map(id, kept))
    plan.transfers = [one for one in plan.transfers if id(one) not in taken]
    left = {id(one.place) for one in plan.transfers}
    gone = [one.place for one in kept if id(one.place) not in left]
    plan.places = [place for place in plan.places if not any(place is one for one in gone)]
    # What was asked of a layer, the order of its features say, is asked no longer.
    asked = tuple(f"{place.path!r} " for place in gone)
    plan.problems[:] = [one for one in plan.problems if not one.startswith(asked) or "abstract" in one]


def as_they_are(
    plan: PortPlan, arrays: dict[str, Deferred | np.ndarray], like: Mapping[str, Any], patterns: Iterable[str]
) -> dict[str, np.ndarray]:
    """Copies of the tensors in `like` that are ignored, by their full names; others of their names are taken out."""
    short = {full: name for name, full in plan.names.items()}
    found = _matching(plan, "ignore", "tensor", {*short.values(), *short, *arrays}, patterns)
    for name in found & set(arrays):
        del arrays[name]
    copies: dict[str, np.ndarray] = {}
    for full, value in like.items():
        if found.isdisjoint((full, short[full])):
            continue
        if why := why_refused(full, value):
            plan.problems.append(why)
        else:
            copies[full] = from_tensor(full, value)
    return copies


def _matching(plan: PortPlan, option: str, kind: str, names: Collection[str], patterns: Iterable[str]) -> set[str]:
    matching: set[str] = set()
    for pattern in dict.fromkeys([patterns] if isinstance(patterns, str) else patterns):
        found = {name for name in names if fnmatchcase(name, pattern)}
        if not found:
            plan.problems.append(f"{option} has {pattern!r}, which no {kind} matches")
        matching |= found
    return matching
