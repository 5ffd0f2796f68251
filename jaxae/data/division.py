"""A test set drawn from data that have none."""

import numpy as np
from jaxtyping import Bool, Int

from jaxae.data.reading import Part
from jaxae.errors import InputError

_SHARE, _SEED = 1 / 6, 0


def divide(part: Part, share: float | None) -> tuple[Part, Part, str]:
    """A training and a test set, the latter a share of each class drawn with seed 0; and a clause that says so.

    Both keep the order of the data.

    Raises:
        InputError: If there are fewer than two images.
    """
    is_test, note = to_test_on(part.labels, share)
    train, test = (Part(part.images[chosen], part.labels[chosen]) for chosen in (~is_test, is_test))
    return train, test, note


def to_test_on(labels: Int[np.ndarray, " n"], share: float | None) -> tuple[Bool[np.ndarray, " n"], str]:
    """Which images become the test set, and a clause that says so.

    Raises:
        InputError: If there are fewer than two images.
    """
    count = len(labels)
    if count < 2:
        raise InputError(f"expected two images or more, one of them to test on, got {count}")
    is_test = drawn(labels, _SHARE if share is None else share)
    told = "a sixth" if share is None else f"{share:g}"
    note = f"no test set was there: {told} of each class, {is_test.sum()} of {count}, drawn with seed {_SEED}, is it"
    return is_test, note


def drawn(labels: Int[np.ndarray, " n"], share: float) -> np.ndarray:
    """Which of these are drawn: a share of each class to the nearest number, at least one in all and never all."""
    random = np.random.default_rng(_SEED)
    chosen = np.zeros(len(labels), bool)
    order = random.permutation(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        chosen[members[: round(share * len(members))]] = True
    if not chosen.any():
        chosen[order[0]] = True
    if chosen.all():
        chosen[order[0]] = False
    return chosen
