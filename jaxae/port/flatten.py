"""Flatten: the order of features where images become vectors, or vectors images.

torch flattens channels, height, width; a channels-last network that simply reshapes flattens height, width, channels.
The kernels on both sides have the same shape, so the order must be said.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from jaxae.errors import InputError
from jaxae.port.row import Row
from jaxae.port.structure import Place

Order = tuple[int, ...] | Literal["CHW"]
Flatten = Mapping[str, Order] | Literal["CHW"] | None


@dataclass(frozen=True)
class Orders:
    """What the user said of the features that come into layers, and go out of them.

    Attributes:
        inputs: By layer, torch's (channels, *space) of the image that was flattened before it where the NNX module
            flattens channels last; "CHW" where it flattens as torch does.
        outputs: The same of the image that a layer's outputs are reshaped to.
        all_as_torch: Whether the whole module flattens and unflattens as torch does.
    """

    inputs: Mapping[str, Order]
    outputs: Mapping[str, Order]
    all_as_torch: bool = False

    @classmethod
    def read(cls, flatten: Flatten, unflatten: Flatten) -> "Orders":
        """The orders in the arguments of a port.

        Raises:
            InputError: If one is neither a mapping nor "CHW".
        """
        for name, given in (("flatten", flatten), ("unflatten", unflatten)):
            if not (given is None or given == "CHW" or isinstance(given, Mapping)):
                raise InputError(
                    f"expected {name} to be 'CHW' or a mapping of layers to 'CHW' or (channels, "
                    f"height, width), got {given!r}"
                )
        inputs = flatten if isinstance(flatten, Mapping) else {}
        outputs = unflatten if isinstance(unflatten, Mapping) else {}
        return cls(inputs, outputs, "CHW" in (flatten, unflatten))

    def refine(self, place: Place) -> tuple[list[tuple[Row, dict[str, int]]], list[str]]:
        """A layer's rows with their axes split where its features are reordered, and problems."""
        sides, problems = [], []
        norm = "features" if _is_norm(place) else None
        into, out = _widths(place)
        for said, key, side in ((self.inputs, norm or "inputs", into), (self.outputs, norm or "outputs", out)):
            order = said.get(place.path)
            if order is None or order == "CHW":
                continue
            if place.rule.spatial or not any(key in row.pattern for row in place.rows):
                problems.append(f"{place.path!r} ({type(place.layer).__name__}) has no flat features")
            elif not _is_shape(order) or math.prod(order) != side:
                shape = f"the (channels, *space) {order!r}"
                problems.append(f"{place.path!r} has {side} features, which are not {shape}")
            else:
                sides.append((key, order))
        return [_split(row, sides) for row in place.rows], problems

    def unknown(self, places: Sequence[Place]) -> list[str]:
        """Layers that the user named and the module has not."""
        return sorted({*self.inputs, *self.outputs} - {place.path for place in places})

    def unsaid(self, places: Sequence[Place]) -> list[str]:
        """A sentence for each layer whose order shapes alone cannot tell and nobody has said."""
        if self.all_as_torch:
            return []
        told = []
        reshaped = _reshaped_outputs(places)
        for place, channels, beside in _flattened_inputs(places, {p.path for p, _, _ in reshaped}):
            if place.path not in self.inputs:
                told.append(_ask(place, channels, beside, "flatten", 0))
        for place, channels, beside in reshaped:
            if place.path not in self.outputs:
                told.append(_ask(place, channels, beside, "unflatten", 1))
        return told


def _is_shape(order: object) -> bool:
    if not isinstance(order, tuple | list) or len(order) < 2:
        return False
    return all(isinstance(size, int) and size > 0 for size in order)


def _split(row: Row, sides: list[tuple[str, tuple[int, ...]]]) -> tuple[Row, dict[str, int]]:
    sizes: dict[str, int] = {}
    left, _, right = row.pattern.partition("->")
    for key, order in sides:
        if key not in left.split():
            continue
        names = [f"{key}_c", *(f"{key}_{axis}" for axis in range(len(order) - 1))]
        sizes.update(zip(names, order, strict=True))
        torch, flax = " ".join(names), " ".join([*names[1:], names[0]])
        left = " ".join(f"({torch})" if word == key else word for word in left.split())
        right = " ".join(f"({flax})" if word == key else word for word in right.split())
    return replace(row, pattern=f"{left.strip()} -> {right.strip()}"), sizes


def _ask(place: Place, channels: int, beside: str, argument: str, side: int) -> str:
    features = _widths(place)[side]
    positions = features // channels
    root = math.isqrt(positions)
    shape = (channels, root, root) if root * root == positions else (channels, 1, positions)
    takes = "takes" if side == 0 else "gives"
    return (
        f"{place.path!r} {takes} {features} features, {positions} for each of the {channels} "
        f"channels of {beside!r}: shapes alone cannot tell in which order the NNX module "
        f"{argument}s; say {argument}={{{place.path!r}: {shape}}} (channels, height, width) if "
        f"channels are last, {{{place.path!r}: 'CHW'}} if it has torch's order or no image is there"
    )


def _widths(place: Place) -> tuple[int, int]:
    return place.rule.width(place.layer) if place.rule.width else (0, 0)


def _is_norm(place: Place) -> bool:
    return any("features" in row.pattern for row in place.rows)


def _flattened_inputs(places: Sequence[Place], reshaped: set[str]) -> list[tuple[Place, int, str]]:
    """Layers that may take a flattened image, with its channels and the layer that made it.

    A layer that takes just what the one declared before it gives is taken to follow it. Beyond that, the nearest
    spatial layer declared before decides; where that cannot be it, any other.
    """
    found = []
    spatial = [place for place in places if place.rule.spatial]
    outs = [_widths(place)[1] for place in places]
    reordered = set(reshaped)
    for index, place in enumerate(places):
        features = _widths(place)[0]
        if place.rule.spatial or not features:
            continue
        previous = places[index - 1] if index else None
        if previous is not None and not previous.rule.spatial and outs[index - 1] == features:
            if not (_is_norm(place) and previous.path in reordered):
                continue
            reordered.add(place.path)
        elif _is_norm(place) and features in [_widths(one)[1] for one in spatial]:
            continue
        before = [one for one in places[:index] if one.rule.spatial and _widths(one)[1] > 1]
        nearest = before[-1:] if before and features % _widths(before[-1])[1] == 0 else []
        elsewhere = features in outs[:index] + outs[index + 1 :]
        others = [] if nearest or elsewhere else spatial
        if place.path in reordered:
            nearest, others = [], [one for one in spatial if one not in before]
        for one in (*nearest, *others):
            channels = _widths(one)[0 if place.path in reordered else 1]
            if 1 < channels < features and features % channels == 0:
                found.append((place, channels, one.path))
                break
    return found


def _reshaped_outputs(places: Sequence[Place]) -> list[tuple[Place, int, str]]:
    """Layers whose outputs may become an image, with its channels and the layer that takes it."""
    found = []
    spatial = [place for place in places if place.rule.spatial]
    for index, place in enumerate(places):
        features = _widths(place)[1]
        if place.rule.spatial or _is_norm(place) or not features or not place.rule.width:
            continue
        after = [one for one in places[index + 1 :] if not _is_norm(one) and _widths(one)[0]]
        if after and not after[0].rule.spatial and _widths(after[0])[0] == features:
            continue
        following = [one for one in after if one.rule.spatial and _widths(one)[0] > 1]
        if following and features % _widths(following[0])[0] == 0:
            candidates = following[:1]
        elif any(_widths(one)[0] == features for one in places if one is not place):
            candidates = []
        else:
            candidates = [one for one in spatial if "Transpose" in type(one.layer).__name__]
        for one in candidates:
            channels = _widths(one)[0]
            if 1 < channels < features and features % channels == 0:
                found.append((place, channels, one.path))
                break
    return found
