"""How far the frameworks may be apart on each rung, relative to a tensor's largest magnitude.

Measured gaps stand beside these in the report. float64 leaves no room for a wrong formula; float32 measures rounding.
"""

# float64: rounding of sums of up to some thousand terms. float32: the same in its epsilon, 1.2e-7.
FORWARD = {"float64": 1e-12, "float32": 2e-6}
# Held against torch's float64 gradients of the same weights: torch's own float32 ones may be off by
# more than a hundred times this (`dec_deconv_3.bias`, a sum over all pixels).
GRADIENT = {"float64": 1e-11, "float32": 1e-5}
# Adam divides a gradient by its own magnitude, which makes noise of gradients near zero visible.
ADAM_IDENTICAL = {"float64": 1e-11, "float32": 1e-5}
ADAM_OWN = {"float64": 1e-11, "float32": 2e-4}
TRAJECTORY = 1e-9
"""A thousand steps in float64: costs, parameters and both moments, at every step. Training itself
amplifies rounding: the autoencoder's gap grows from 1e-14 to 1e-10, as torch's own does after one
weight has been moved by one unit in the last place."""
DRIFT = 1e-3
"""Of a float32 trajectory's cost from float64's, on average, unless torch's own drifts by more."""
RUN = {"exact": 1e-9, "first": 1e-6, "first epoch": 3e-3, "lines": 1e-4}
"""Replayed runs: all of a float64 run; in float32 the first cost, a VAE's first epoch, and the
autoencoder's costs, which are below 1: a unit in the fourth decimal of any printed line."""
