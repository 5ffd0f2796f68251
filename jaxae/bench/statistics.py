"""Medians, quartiles, ratios within rounds: from samples to a table's numbers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_RESAMPLES = 2000


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


def interval(samples: Sequence[float], reference: Sequence[float]) -> tuple[float, float]:
    """Ends of the 95 % interval of how many times faster samples are: of the median over rounds, by bootstrap."""
    ratios = np.divide(reference, samples)
    drawn = np.random.default_rng(0).choice(ratios, (_RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return float(low), float(high)


def interval_over_runs(samples: Sequence[float], before: Sequence[float]) -> tuple[float, float]:
    """The same against an earlier run, whose rounds were others: of the ratio of the two medians."""
    rng = np.random.default_rng(0)
    own, earlier = (np.median(rng.choice(side, (_RESAMPLES, len(side))), axis=1) for side in (samples, before))
    low, high = np.percentile(earlier / own, [2.5, 97.5])
    return float(low), float(high)


def largest_gap(costs: Sequence[float | None], reference: Sequence[float | None]) -> float:
    """Largest relative difference of two runs' costs; infinite where one is not finite."""
    pairs = zip(costs, reference, strict=True)
    return max(float("inf") if a is None or b is None else abs(a - b) / abs(b) for a, b in pairs)
