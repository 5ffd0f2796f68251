"""Corruptions of an image in [0, 1], drawn inside the compiled training step.

Each is a frozen dataclass, so that a compiled program can depend on it, and is called with a key and one image; the
result lies in [0, 1] too.
"""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxae.bounds import Checked, Count, PositiveAmount, Range, Share
from jaxae.errors import InputError


@dataclass(frozen=True)
class Gaussian(Checked):
    """Adds normal noise to each pixel, then clips to [0, 1].

    Attributes:
        deviation: Standard deviation of the noise, in units of the pixels' range.
    """

    deviation: PositiveAmount = 0.3

    def __call__(self, key: Key[Array, ""], image: Float[Array, "..."]) -> Float[Array, "..."]:
        """The image as the network is shown it."""
        noise = jax.random.normal(key, image.shape, image.dtype)
        return jnp.clip(image + self.deviation * noise, 0, 1)


@dataclass(frozen=True)
class SaltAndPepper(Checked):
    """Turns some pixels black or white, either with equal chance.

    Attributes:
        share: Chance of each pixel to be turned.
    """

    share: Share = 0.3

    def __call__(self, key: Key[Array, ""], image: Float[Array, "..."]) -> Float[Array, "..."]:
        """The image as the network is shown it."""
        draw = jax.random.uniform(key, image.shape, image.dtype)
        pepper, salt = draw < self.share / 2, draw > 1 - self.share / 2
        return jnp.where(pepper, 0, jnp.where(salt, 1, image))


@dataclass(frozen=True)
class MaskedPixels(Checked):
    """Turns some pixels black (Vincent et al. 2008, doi:10.1145/1390156.1390294).

    Attributes:
        share: Chance of each pixel to be turned.
    """

    share: Share = 0.5

    def __call__(self, key: Key[Array, ""], image: Float[Array, "..."]) -> Float[Array, "..."]:
        """The image as the network is shown it."""
        return jnp.where(jax.random.bernoulli(key, self.share, image.shape), 0, image)


@dataclass(frozen=True)
class MaskedBlocks(Checked):
    """Turns squares at random places black; they may overlap, and lie wholly in the image.

    Attributes:
        side: Side of each square, in pixels.
        count: Number of squares.
    """

    side: Count = 7
    count: Annotated[int, Range(1, 10_000)] = 3  # each image of a batch has a mask of each

    def __call__(self, key: Key[Array, ""], image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        """The image as the network is shown it.

        Raises:
            InputError: If a block is larger than the image.
        """
        height, width = image.shape[:2]
        if self.side > min(height, width):
            raise InputError(f"expected blocks within {height}x{width}, got side {self.side}")
        room = jnp.array([height, width]) - self.side + 1
        corners = jax.random.randint(key, (self.count, 2), 0, room[None])
        rows = _within(corners[:, 0], self.side, height)
        columns = _within(corners[:, 1], self.side, width)
        masked = (rows[:, :, None] & columns[:, None, :]).any(0)
        return jnp.where(masked[:, :, None], 0, image)


def _within(start: Array, side: int, length: int) -> Array:
    place = jnp.arange(length)[None]
    return (place >= start[:, None]) & (place < start[:, None] + side)
