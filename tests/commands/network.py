"""A network of one's own, as a user of `scripts/port_weights.py --model` has it."""

from flax import nnx


def make() -> nnx.Module:
    """Two channels of convolution, flattened, and a linear layer."""
    rngs = nnx.Rngs(0)
    return nnx.Sequential(
        nnx.Conv(1, 2, (3, 3), rngs=rngs), lambda x: x.reshape(len(x), -1), nnx.Linear(2 * 28 * 28, 3, rngs=rngs)
    )
