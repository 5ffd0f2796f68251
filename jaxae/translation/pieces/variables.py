"""Variables beside parameters."""

from flax import nnx


class Buffer(nnx.Variable):
    """A constant that is kept with the weights."""
