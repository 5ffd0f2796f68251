"""Medians, quartiles, ratios within rounds: from samples to a table's numbers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Spread(NamedTuple):
    """Median and quartiles of some samples."""

    median: float
    low: float
    high: float


def spread(samples: Sequence[float]) -> Spread:
    """Median, lower and upper quartile."""
    return Spread(*np.percentile(samples, [50, 25, 75]).tolist())


def times_faster(samples: Sequence[float], reference: Sequence[float]) -> Spread:
    """How many times faster samples are than a reference's of the same rounds."""
    return spread([theirs / own for own, theirs in zip(samples, reference, strict=True)])


def largest_gap(costs: Sequence[float | None], reference: Sequence[float | None]) -> float:
    """Largest relative difference of two runs' costs; infinite where one is not finite."""
    pairs = zip(costs, reference, strict=True)
    return max(float("inf") if a is None or b is None else abs(a - b) / abs(b) for a, b in pairs)
