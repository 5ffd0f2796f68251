"""Stacks: layers that `nnx.vmap` made one module, with a leading axis in every variable, where torch has a list.

`blocks.fc.kernel` of (layers, inputs, outputs) is `blocks.0.fc.weight`, `blocks.1.fc.weight` and so on.
"""

from collections.abc import Container, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from jaxae.port.names import MOST_STACKS, all_there, with_numbers
from jaxae.port.structure import Place, variable


def unstacked(places: Sequence[Place], available: Container[str]) -> tuple[list[Place], list[str]]:
    """The layers with those that are stacked in one told apart, block by block; and what was taken for granted.

    Args:
        places: The layers.
        available: torch's tensor names, where they are known: where the numbers stand in them is then read off.
    """
    counts = {place.path: _stacked_axes(place) for place in places if place.rows}
    if not any(counts.values()):
        return list(places), []
    apart: list[tuple[str, Place]] = []
    notes = []
    for place in places:
        roots = _roots(place, counts)
        sizes = _sizes(place, len(roots), places)
        if not sizes:
            apart.append((place.path, place))
            continue
        template = _numbered(place, sizes, roots, available)
        at = template.replace("*", "").rstrip(".")
        notes.append(
            f"{place.path!r} holds {'x'.join(map(str, sizes))} layers, which are torch's {at!r} of each number"
        )
        indices = np.ndindex(sizes)
        apart += [(roots[0], replace(place, template=template.format(*one), index=one)) for one in indices]
    blocks = [sorted(run, key=lambda one: one[1].index) for _, run in groupby(apart, key=lambda one: one[0])]
    return [place for block in blocks for _, place in block], notes


def _stacked_axes(place: Place) -> int:
    """Leading axes of a layer's variables that no row tells of."""
    extra = []
    for row in place.rows:
        held, rank = variable(place.layer, row.flax_names[0]), row.rank(place.layer)
        if held is not None and rank is not None:
            extra.append(len(held.shape) - rank)
    return max(0, min(extra, default=0)) if max(extra, default=0) <= MOST_STACKS else 0


def _roots(place: Place, counts: dict[str, int]) -> list[str]:
    """For each leading axis the module that is stacked: the highest one below the network that has it throughout."""
    parts = place.path.split(".") if place.path else []
    above = [".".join(parts[:depth]) for depth in range(1, len(parts))]
    least = {path: min((n for one, n in counts.items() if one.startswith(f"{path}.")), default=0) for path in above}
    own = counts.get(place.path, max(least.values(), default=0))
    return [next((path for path in above if least[path] >= axis), place.path) for axis in range(1, own + 1)]


def _sizes(place: Place, count: int, places: Sequence[Place]) -> tuple[int, ...]:
    for one in [place, *places]:  # a layer without variables has as many as those beside it
        beside = one is place or one.path.partition(".")[0] == place.path.partition(".")[0]
        for row in one.rows if beside else ():
            held = variable(one.layer, row.flax_names[0])
            if held is not None and len(held.shape) >= count:
                return tuple(held.shape[:count])
    return ()


def _numbered(place: Place, sizes: tuple[int, ...], roots: Sequence[str], available: Container[str]) -> str:
    """The template of the tensor names of each layer of a stack."""
    if place.template.count("{}") == len(sizes):
        return place.template
    names = [name for row in place.rows for name in row.torch_names]
    for template in with_numbers(place.template, len(sizes)):
        if any(all_there(template.replace("*", name), sizes, available) for name in names):
            return template
    # By default a number stands behind the path of the module that is stacked.
    parts = place.template.split(".")
    depths = [min(len(root.split(".")) if root else 0, len(parts) - 1) for root in roots]
    return ".".join(word for number, part in enumerate(parts) for word in [*["{}"] * depths.count(number), part])
