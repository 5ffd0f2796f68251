"""Whether two samples come from one distribution: the two-sample test of Kolmogorov and Smirnov."""

import math

import numpy as np
from jaxtyping import Float

from jaxae.parity.gap import Gap

# Kolmogorov's limit law exceeds 3 with probability 2 exp(-18) = 3e-8.
CRITICAL = 3.0


def kolmogorov_smirnov(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " m"], name: str = "") -> Gap:
    """Largest distance of the two empirical distribution functions.

    Absolute, and relative to the distance expected by chance: times sqrt(n m / (n + m)).
    """
    first, second = np.sort(first), np.sort(second)
    points = np.concatenate([first, second])
    below = [np.searchsorted(x, points, side="right") / len(x) for x in (first, second)]
    distance = float(np.abs(below[0] - below[1]).max())
    size = len(first) * len(second) / (len(first) + len(second))
    return Gap(distance, distance * math.sqrt(size), name)
