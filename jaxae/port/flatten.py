"""Flatten: the order of features where images become vectors, or vectors images.

torch flattens channels, height, width; a channels-last network that simply reshapes flattens height, width, channels.
The kernels on both sides have the same shape, so the order must be said.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from jaxae.errors import InputError
from jaxae.port.row import Row
from jaxae.port.structure import Place


@dataclass(frozen=True)
class Permutation:
    """An order of features that is no flattened image: Flax's feature i is torch's feature `indices[i]`."""

    indices: tuple[int, ...]


Order = tuple[int, ...] | Literal["CHW"] | Permutation
Flatten = Mapping[str, Order] | Literal["CHW"] | None


def feature_indices(order: Order) -> np.ndarray | None:
    """The torch feature that each Flax feature is; None where the order is the same."""
    if order == "CHW":
        return None
    if isinstance(order, Permutation):
        return np.array(order.indices)
    return np.moveaxis(np.arange(math.prod(order)).reshape(order), 0, -1).ravel()


class Orders:
    """What the user said of the features that come into layers, and go out of them.

    Attributes:
        inputs: By layer, torch's (channels, *space) of the image that was flattened before it where the NNX module
            flattens channels last; "CHW" where it flattens as torch does.
        outputs: The same of the image that a layer's outputs are reshaped to.
        all_as_torch: Whether the whole module flattens and unflattens as torch does.

    Raises:
        InputError: If what was said is neither a mapping nor "CHW".
    """

    def __init__(self, flatten: Flatten, unflatten: Flatten):
        for name, given in (("flatten", flatten), ("unflatten", unflatten)):
            if not (given is None or given == "CHW" or isinstance(given, Mapping)):
                expected = f"expected {name} to be 'CHW' or a mapping of layers to 'CHW' or (channels, height, width)"
                raise InputError(f"{expected}, got {given!r}")
        self.inputs: Mapping[str, Order] = flatten if isinstance(flatten, Mapping) else {}
        self.outputs: Mapping[str, Order] = unflatten if isinstance(unflatten, Mapping) else {}
        self.all_as_torch = "CHW" in (flatten, unflatten)

    def refine(self, place: Place) -> tuple[list[tuple[Row, dict[str, int]]], list[str]]:
        """A layer's rows with their axes split where its features are reordered, and problems."""
        sides, problems = [], []
        norm = "features" if place.is_norm else None
        into, out = place.widths
        for said, key, side in ((self.inputs, norm or "inputs", into), (self.outputs, norm or "outputs", out)):
            order = said.get(place.path)
            if order is None or order == "CHW":
                continue
            channels = isinstance(order, Permutation) and key == "inputs"  # what a concatenation puts elsewhere
            if (place.rule.spatial and not channels) or not any(key in row.pattern.split() for row in place.rows):
                problems.append(f"{place} has no flat features")
            elif isinstance(order, Permutation):
                if sorted(order.indices) == list(range(side)):
                    sides.append((key, order))
                else:
                    problems.append(f"{place.path!r} has {side} features, of which the order given is no permutation")
            elif not _is_shape(order) or math.prod(order) != side:
                problems.append(f"{place.path!r} has {side} features, which are not the (channels, *space) {order!r}")
            else:
                sides.append((key, order))
        return [_split(row, sides) for row in place.rows], problems

    def problems(self, places: Sequence[Place], *, in_order: bool = True) -> list[str]:
        """A sentence for each layer that the module has not, and for each of which too little is said.

        Shapes alone cannot tell the order of features.

        Args:
            places: The layers.
            in_order: Whether they are in the order of declaration.
        """
        unknown = sorted({*self.inputs, *self.outputs} - {place.path for place in places})
        told = [f"{path!r} is no layer of the NNX module, but a flatten or unflatten is said of it" for path in unknown]
        if not self.all_as_torch:
            if in_order:
                reshaped = _reshaped_outputs(places)
                flattened = _flattened_inputs(places, {place.path for place, _, _ in reshaped} | set(self.outputs))
            else:
                flattened, reshaped = _in_any_order(places)
            told += [_ask(*one, "flatten") for one in flattened if one[0].path not in self.inputs]
            told += [_ask(*one, "unflatten") for one in reshaped if one[0].path not in self.outputs]
        return told


def _is_shape(order: object) -> bool:
    if not isinstance(order, tuple | list) or len(order) < 2:
        return False
    return all(isinstance(size, int) and size > 0 for size in order)


def _split(row: Row, sides: list[tuple[str, tuple[int, ...] | Permutation]]) -> tuple[Row, dict[str, int]]:
    sizes: dict[str, int] = {}
    left, _, right = row.pattern.partition("->")
    for key, order in sides:
        if key not in left.split():
            continue
        if isinstance(order, Permutation):
            row = replace(row, orders=(*row.orders, (key, order.indices)))
            continue
        names = [f"{key}_c", *(f"{key}_{axis}" for axis in range(len(order) - 1))]
        sizes.update(zip(names, order, strict=True))
        torch, flax = " ".join(names), " ".join([*names[1:], names[0]])
        left = " ".join(f"({torch})" if word == key else word for word in left.split())
        right = " ".join(f"({flax})" if word == key else word for word in right.split())
    return replace(row, pattern=f"{left.strip()} -> {right.strip()}"), sizes


def _ask(place: Place, channels: int, beside: str, argument: str) -> str:
    features = place.widths[argument == "unflatten"]
    positions = features // channels
    root = math.isqrt(positions)
    shape = (channels, root, root) if root * root == positions else (channels, 1, positions)
    takes = "takes" if argument == "flatten" else "gives"
    return (
        f"{place.path!r} {takes} {features} features, {positions} for each of the {channels} channels of {beside!r}: "
        f"shapes alone cannot tell in which order the NNX module {argument}s; "
        f"say {argument}={{{place.path!r}: {shape}}} (channels, height, width) if channels are last, "
        f"{{{place.path!r}: 'CHW'}} if it has torch's order or no image is there, or give inputs= to find it"
    )


def _find_image(place: Place, features: int, images: Iterable[Place], side: int) -> list[tuple[Place, int, str]]:
    """The first image that a layer's features may be: its channels and its own layer; one, or none."""
    for one in images:
        channels = one.widths[side]
        if 1 < channels < features and features % channels == 0:
            return [(place, channels, one.path)]
    return []


def _flattened_inputs(places: Sequence[Place], reshaped: set[str]) -> list[tuple[Place, int, str]]:
    """Layers that may take a flattened image, with its channels and the layer that made it."""
    # A layer that takes just what the one declared before it gives is taken to follow it. Beyond that, the nearest
    # spatial layer declared before decides; where that cannot be it, any other.
    found: list[tuple[Place, int, str]] = []
    spatial = [place for place in places if place.rule.spatial]
    outs = [place.widths[1] for place in places]
    reordered = set(reshaped)
    for index, place in enumerate(places):
        features = place.widths[0]
        if place.rule.spatial or not features:
            continue
        if index and not places[index - 1].rule.spatial and outs[index - 1] == features:
            last = places[index - 1]
            if last.is_norm and last.path not in reordered and found and found[-1][0] is last:
                found.append((place, *found[-1][1:]))  # a norm passes on the order that it is given
                continue
            if not (place.is_norm and last.path in reordered):
                continue
            reordered.add(place.path)
        elif place.is_norm and features in [one.widths[1] for one in spatial]:
            continue
        before = [one for one in places[:index] if one.rule.spatial and one.widths[1] > 1]
        if place.is_norm and place.path in reordered:
            images, side = [one for one in spatial if one not in before], 0
        elif before and features % before[-1].widths[1] == 0:
            images, side = before[-1:], 1
        elif place.path in reordered:  # what is made an image here runs through the layers that follow
            images, side = before, 1
        else:
            images, side = [] if features in outs[:index] + outs[index + 1 :] else spatial, 1
        found += _find_image(place, features, images, side)
    return found


def _in_any_order(places: Sequence[Place]) -> tuple[list[tuple[Place, int, str]], list[tuple[Place, int, str]]]:
    """Layers that may take a flattened image, and those that may give one, if nothing tells which layer comes first."""
    spatial = [place for place in places if place.rule.spatial]
    flat = [place for place in places if not place.rule.spatial and place.widths[0]]
    taking = [found for place in flat for found in _find_image(place, place.widths[0], spatial, 1)]
    giving = [found for one in flat if not one.is_norm for found in _find_image(one, one.widths[1], spatial, 0)]
    return taking, giving


def _reshaped_outputs(places: Sequence[Place]) -> list[tuple[Place, int, str]]:
    """Layers whose outputs may become an image, with its channels and the layer that takes it."""
    found = []
    for index, place in enumerate(places):
        features = place.widths[1]
        if place.rule.spatial or place.is_norm or not features:
            continue
        after = [one for one in places[index + 1 :] if not one.is_norm and one.widths[0]]
        if after and not after[0].rule.spatial and after[0].widths[0] == features:
            continue
        following = [one for one in after if one.rule.spatial and one.widths[0] > 1]
        if following and features % following[0].widths[0] == 0:
            images = following[:1]
        elif any(one.widths[0] == features for one in places if one is not place):
            images = []
        else:
            images = [one for one in places if one.rule.spatial and "Transpose" in type(one.layer).__name__]
        found += _find_image(place, features, images, 0)
    return found
