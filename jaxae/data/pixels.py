"""Pixels and labels: from uint8 to [0, 1] exactly as torch has it, and the checks at the door."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, UInt8
from numpy.typing import ArrayLike

from jaxae.errors import InputError


def unit_float_table() -> Float32[np.ndarray, "256"]:
    """Compute k / 255 in float32 for k = 0..255, each correctly rounded, as torch divides."""
    return np.arange(256, dtype=np.float32) / np.float32(255)


def as_unit_float(images: UInt8[np.ndarray, "*shape"] | Float[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """Compute float32 pixels in [0, 1] on the host: uint8 over 255; floats are checked and kept.

    Raises:
        InputError: If the pixels are neither uint8 nor floats in [0, 1].
    """
    images = np.asarray(images)
    check_pixels(images)
    if images.dtype == np.uint8:
        return unit_float_table()[images]
    return images.astype(np.float32)


def check_images(images: ArrayLike, expected_shape: Sequence[int] = (28, 28, 1)) -> None:
    """Refuse what is not a batch of images: uint8, or floats in [0, 1], of [N, *expected_shape].

    Raises:
        InputError: If shape or dtype are others, the batch is empty, or a value is NaN or outside [0, 1].
    """
    images = as_array("images", images)
    if images.shape[1:] != tuple(expected_shape) or images.ndim != 1 + len(expected_shape):
        wanted = "x".join(["N", *map(str, expected_shape)])
        raise InputError(f"expected images of shape {wanted}, got {_shape(images)}")
    if len(images) == 0:
        raise InputError("expected at least one image, got none")
    check_pixels(images)


def check_labels(labels: ArrayLike, num_classes: int, *, num_images: int | None = None) -> None:
    """Refuse what is not a vector of integer labels in [0, num_classes), one for each image.

    Raises:
        InputError: If shape or dtype are others, there are no labels or another number than `num_images`, or a label
            is outside the classes.
    """
    labels = as_array("labels", labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"expected labels to be a vector of integers, got {labels.dtype} of shape {_shape(labels)}")
    if num_images is not None and len(labels) != num_images:
        raise InputError(f"expected a label for each of {num_images} images, got {len(labels)}")
    if len(labels) == 0:
        raise InputError("expected at least one label, got none")
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= num_classes:
        outside = lowest if lowest < 0 else highest
        raise InputError(f"expected labels from 0 to {num_classes - 1}, got {outside}")


def as_array(name: str, values: object) -> np.ndarray:
    """Values as one array in this machine's byte order; of any other, JAX takes the bytes as they lie.

    Raises:
        InputError: If they are rows of several lengths, or the like.
    """
    try:
        array = np.asarray(values)
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected {name} as one array, got rows of several lengths or kinds") from error


def check_pixels(images: np.ndarray) -> None:
    """Refuse pixels that are neither uint8 nor floats in [0, 1].

    Raises:
        InputError: If the dtype is another, or a value is NaN or outside [0, 1].
    """
    # bfloat16 is ml_dtypes' own kind, 'V': ask NumPy for what it can be compared as.
    if images.dtype == np.uint8:
        return
    if images.dtype.kind != "f" and images.dtype.name != "bfloat16":
        raise InputError(f"expected pixels of uint8, or floats in [0, 1], got {images.dtype}")
    if images.size == 0:
        return
    lowest, highest = float(images.min()), float(images.max())
    if np.isnan(lowest) or np.isnan(highest):
        raise InputError("expected float pixels in [0, 1], got NaN")
    if lowest < 0 or highest > 1:
        outside = lowest if lowest < 0 else highest
        raise InputError(f"expected float pixels in [0, 1], got {outside:g}")


def _shape(array: np.ndarray) -> str:
    return "x".join(map(str, array.shape)) or "a scalar"
