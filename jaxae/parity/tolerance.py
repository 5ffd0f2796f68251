"""How far the frameworks may be apart on each rung, relative to a tensor's largest magnitude.

float64 leaves no room for a wrong formula, and a constant is its tolerance. float32 measures rounding, which is
another on every machine and with every number of threads: there both frameworks are held against torch's float64, and
JAX may be farther from it than torch's own float32 is in the same run by a factor, or as far as a floor.
"""

from typing import NamedTuple

FACTOR = 10.0
"""Of torch's own float32 error. Two arithmetics that round equally well are by chance up to three times apart in the
largest error of a tensor (36 steps of the VAEs)."""


class Bound(NamedTuple):
    """How far a kind of numbers may be apart.

    Attributes:
        float64: Largest relative gap of the two frameworks in float64.
        float32: Relative gap from torch's float64 that passes in float32 however small torch's own is.
    """

    float64: float
    float32: float


# Rounding of sums of up to some thousand terms.
FORWARD = Bound(1e-12, 2e-6)
GRADIENT = Bound(1e-11, 1e-5)
# Adam divides a gradient by its own magnitude, which makes noise of gradients near zero visible.
ADAM = Bound(1e-11, 1e-5)
DECIDED = 1e-4
"""Least gradient, relative to its tensor's largest, whose Adam step is compared: below it rounding decides the sign,
and with it the whole step."""
TRAJECTORY = 1e-9
"""A thousand steps in float64: costs, parameters and both moments, at every step. Training itself
amplifies rounding: the autoencoder's gap grows from 1e-14 to 1e-10, as torch's own does after one
weight has been moved by one unit in the last place."""
DRIFT = 1e-3
"""Floor of a float32 trajectory's drift of cost from float64's, on average."""
RUN = 1e-9
"""A whole replayed run in float64."""
# In float32: a VAE's first epoch, and the autoencoder's costs, which are below 1: a unit in the fourth decimal.
RUN_EPOCH, RUN_LINES = Bound(RUN, 3e-3), Bound(RUN, 1e-4)
