"""Places in an array."""

from typing import Any

import jax
import jax.numpy as jnp


def along(x: jax.Array, index: jax.Array, axis: int) -> Any:
    """What `x.at[...]` is for torch's scatter: at the index along one axis, at its own place along the others."""
    places = list(jnp.indices(index.shape, sparse=True))
    places[axis] = index
    return x.at[tuple(places)]
