"""Calls that XLA's CPU backend keeps apart from what surrounds them."""

from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array

from jaxae.network.platform import platform


def fenced(function: Callable[..., Array], static: int | tuple[int, ...] = ()) -> Callable[..., Array]:
    """A function that XLA does not fuse with its callers on a CPU; elsewhere the function itself.

    There, XLA fuses loops that are better apart: the reshape in front of a matrix product into the loop before it,
    whose index arithmetic then no longer vectorises (5 us become 80), or a gather's operand into the gather, where it
    is recomputed for every row that reads it.

    Args:
        function: Function of arrays and, at the positions `static`, of hashable values.
        static: Positions of the arguments that are not arrays.
    """

    def alone(*arguments: Any) -> Array:
        # The mark is for this call, not for calls within it, such as that of jnp.where.
        with set_xla_metadata(inlineable=None):
            return function(*arguments)

    compiled = jax.jit(alone, static_argnums=static, inline=False)

    def call(*arguments: Any) -> Array:
        if platform() != "cpu":
            return function(*arguments)
        with set_xla_metadata(inlineable="false"):
            return compiled(*arguments)

    return call
