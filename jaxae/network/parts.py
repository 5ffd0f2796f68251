"""Rows of arrays through a compiled function, so many at a time."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Shaped


def in_parts(
    function: Callable[..., Any],
    *arrays: Shaped[np.ndarray, "n ..."],
    least: int = 64,
    most: int = 1024,
) -> Any:
    """Apply a function to parts of rows, and join what it makes of them.

    Any number of rows, in little memory, runs few programs: a part is `most` rows, or where there
    are fewer the next power of two, filled up with rows of zeros whose results are dropped.

    Args:
        function: Of as many arrays, to an array or a tree of arrays, all [part, ...], row by row.
        arrays: Of one length.
        least: Rows in a part at the least.
        most: Rows in a part at the most.
    """
    count = len(arrays[0])
    size = min(most, padded_length(count, least))
    results = []
    # One part even of no rows, whose result has the right shape.
    for begin in range(0, max(count, 1), size):
        results.append(function(*(pad_rows(array[begin : begin + size], size) for array in arrays)))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *results)


def pad_rows(array: Shaped[np.ndarray, "n ..."], size: int) -> Shaped[np.ndarray, "size ..."]:
    """Rows followed by as many rows of zeros as are missing."""
    return np.pad(array, [(0, size - len(array))] + [(0, 0)] * (array.ndim - 1))


def padded_length(count: int, least: int = 1) -> int:
    """The power of two that holds a count, at least `least`."""
    return max(least, 1 << max(count - 1, 0).bit_length())
