"""Relation of two arrays: the same in another layout, or the same features in another order, which is read off."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jaxae.port.flatten import Order, Permutation

# Relative to the largest: float64's rounding through a deep network is a hundred times less. Where a network computes
# in float32 in part (`jax.nn.dot_product_attention` does, casts in a forward pass do), that one's rounding counts.
TOLERANCE, COARSE_TOLERANCE = 1e-9, 2e-5
# Those whose arrays have channels on axis 1 in torch, whatever their rank.
_CHANNELS_FIRST = ("Conv", "BatchNorm", "InstanceNorm", "GroupNorm")


@dataclass(frozen=True)
class Relation:
    """How arrays of both networks correspond.

    Attributes:
        rank: 0 if they are the same, 1 if the last axis has another order, 2 if the whole example has.
        order: That order.
        outputs: Whether an earlier layer must give its features in it.
    """

    rank: int
    order: Order | None
    outputs: bool = False


def relation(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], kind: str, tolerance: float = TOLERANCE
) -> Relation | None:
    """The relation of Flax's arrays to torch's; None if they hold other numbers.

    Args:
        pairs: Arrays of both, for each set of inputs.
        kind: Class of the torch layer that they come into or out of, which tells where its channels are; "" for others.
        tolerance: Largest difference, relative to the largest element, of what is the same.
    """
    for form in forms(pairs[0][1], kind):
        if all(_same(ours, form(theirs), tolerance) for ours, theirs in pairs):
            return Relation(0, None)
    ours, theirs = pairs[0]
    spatial = any(name in kind for name in _CHANNELS_FIRST) and theirs.ndim >= 3
    if spatial and ours.shape == np.moveaxis(theirs, 1, -1).shape:
        width = ours.shape[-1]
        last = [(one, np.moveaxis(other, 1, -1)) for one, other in pairs]
        flat = [np.concatenate([one[side].reshape(-1, width) for one in last]) for side in (0, 1)]
        if (where := _matching(flat[0], flat[1], tolerance)) is not None:
            return Relation(1, Permutation(tuple(map(int, where))))
    if ours.shape == theirs.shape and not spatial and ours.ndim >= 2:
        width = ours.shape[-1]
        flat = [np.concatenate([one[side].reshape(-1, width) for one in pairs]) for side in (0, 1)]
        if (order := _order(flat[0], flat[1], (), tolerance)) is not None:
            return Relation(1, order)
    if ours.size == theirs.size and len(ours) == len(theirs) and theirs.ndim >= 3:
        flat = [np.concatenate([one[side].reshape(len(one[side]), -1) for one in pairs]) for side in (0, 1)]
        where = _matching(flat[0], flat[1], tolerance)
        if where is not None:
            # Flax puts feature i where torch has another: which one, the position in Flax's layout tells.
            positions = np.arange(theirs[0].size).reshape(theirs[0].shape)
            wanted = positions if ours.shape == theirs.shape else np.moveaxis(positions, 0, -1)
            indices = np.empty(where.size, int)
            indices[where] = wanted.ravel()
            return Relation(2, _shortest(indices, theirs.shape[1:]), outputs=True)
    return None


def forms(array: np.ndarray, kind: str) -> list[Callable[[np.ndarray], np.ndarray]]:
    """What a torch array may look like in Flax."""
    forms: list[Callable[[np.ndarray], np.ndarray]] = [lambda a: a]
    if array.ndim >= 3:
        forms.append(lambda a: np.moveaxis(a, 1, -1))
        forms.append(lambda a: np.swapaxes(a, 0, 1))
        if any(name in kind for name in _CHANNELS_FIRST):
            forms = [forms[1]]
            if array.size == len(array) * array.shape[1]:  # of one pixel: a linear layer in Flax may have no places
                forms.append(lambda a: a.reshape(len(a), -1))
    return forms


def _same(ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> bool:
    if ours.shape != theirs.shape:
        return False
    scale = max(float(np.abs(theirs).max(initial=0)), 1e-300)
    return bool(np.abs(ours - theirs).max(initial=0) <= tolerance * scale)


def _order(ours: np.ndarray, theirs: np.ndarray, shape: tuple[int, ...], tolerance: float) -> Order | None:
    where = _matching(ours, theirs, tolerance)
    return None if where is None else _shortest(where, shape)


def _matching(ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> np.ndarray | None:
    """For each column of ours the column of theirs that is equal, each used once; None where there is none.

    Of equal columns any may be meant, which the proof decides: flattened images come first, then the order as it is.
    """
    scale = max(float(np.abs(theirs).max(initial=0)), 1e-300)
    width = ours.shape[1]
    for channels in range(1, width + 1):
        if width % channels == 0:
            flattened = np.arange(width).reshape(channels, -1).T.ravel()
            if np.abs(ours - theirs[:, flattened]).max(initial=0) <= tolerance * scale:
                return flattened
    weights = np.random.default_rng(0).standard_normal(len(ours))
    left, right = np.argsort(weights @ ours, kind="stable"), np.argsort(weights @ theirs, kind="stable")
    if np.abs(ours[:, left] - theirs[:, right]).max(initial=0) > tolerance * scale:
        return None
    where = np.empty(width, int)
    where[left] = right
    return where


def _shortest(indices: np.ndarray, shape: tuple[int, ...]) -> Order:
    """A permutation as (channels, *space) where it is one."""
    width = len(indices)
    for channels in range(2, width):
        if width % channels == 0 and (np.arange(width).reshape(channels, -1).T.ravel() == indices).all():
            space = shape[1:] if len(shape) > 1 and shape[0] == channels else _space(width // channels)
            return (channels, *map(int, space))
    return Permutation(tuple(map(int, indices)))


def _space(positions: int) -> tuple[int, ...]:
    root = int(np.sqrt(positions))
    return (root, root) if root * root == positions else (1, positions)
