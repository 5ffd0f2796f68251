"""Grey images on disk: what Pillow reads without loss, and uint8 arrays in .npy and .npz files."""

import io
import math
from pathlib import Path

import numpy as np
from einops import rearrange
from jaxtyping import UInt8

from jaxae.bounds import check
from jaxae.errors import InputError, brief
from jaxae.storage import npz
from jaxae.storage.extra import extra
from jaxae.storage.files import whole_or_absent
from jaxae.storage.pictures import open_picture

ARRAY_SUFFIXES = (".npy", ".npz")
LOSSLESS_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".pgm")


def read_pixels(path: Path) -> UInt8[np.ndarray, "..."]:
    """A grey image [h, w] of an image file, or the array [n, 28, 28] or [n, 28, 28, 1] of a file.

    A .npz file holds that array under the name images, or as its only one.

    Raises:
        InputError: If the file is missing or damaged, or holds colour, other than 8 bits per pixel, several frames, or
            another shape.
    """
    check("an image or array file", path, Path)
    if path.is_dir() or not path.exists():
        raise InputError(f"expected an image or array file, got no {path}")
    if path.suffix.lower() in ARRAY_SUFFIXES:
        return _check_array(_read_array(path), path)
    return _read_image(path)


def write_pixels(path: Path, pixels: UInt8[np.ndarray, "..."]) -> None:
    """Write what `read_pixels` reads, whole or absent.

    Raises:
        InputError: If the suffix is not of a lossless format, an image file is to hold several images, or the file
            cannot be written.
    """
    suffix = path.suffix.lower()
    with whole_or_absent(path) as temporary:
        if suffix == ".npy":
            content = io.BytesIO()  # into a file, NumPy writes without a word on why it could not
            np.save(content, pixels, allow_pickle=False)
            temporary.write_bytes(content.getvalue())
        elif suffix == ".npz":
            npz.write(temporary, {"images": pixels})
        else:
            picture = extra("PIL.Image", "pillow").fromarray(pixels.reshape(picture_shape(path, pixels.shape)))
            picture.save(temporary)


def picture_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in which an array of this shape goes into a file of this name.

    Raises:
        InputError: If it does not.
    """
    suffix = path.suffix.lower()
    if suffix in ARRAY_SUFFIXES:
        return shape
    if suffix not in LOSSLESS_SUFFIXES:
        raise InputError(f"expected a name ending in {', '.join(ARRAY_SUFFIXES + LOSSLESS_SUFFIXES)}, got {path}")
    if len(shape) > 2 and shape[0] != 1:
        raise InputError(f"expected a name ending in .npy or .npz for {shape[0]} images, got {path}")
    return shape if len(shape) == 2 else shape[1:3]


def _read_array(path: Path) -> np.ndarray:
    if path.suffix.lower() == ".npz":
        arrays = npz.read(path)
        if "images" not in arrays and len(arrays) != 1:
            raise InputError(
                f"expected an array named images, or a single one, in {path}, "
                f"got {brief(', '.join(arrays), 200) or 'none'}"
            )
        return arrays["images"] if "images" in arrays else next(iter(arrays.values()))
    return npz.read_npy(path)


def _check_array(pixels: np.ndarray, path: Path) -> np.ndarray:
    if pixels.dtype != np.uint8 or not holds_images(pixels.shape) or pixels.size == 0:
        raise InputError(
            "expected uint8 of [n, 28, 28], [n, 28, 28, 1] or one image [h, w], got "
            f"{brief(pixels.dtype)} of {list(pixels.shape)[:8]} in {path}"
        )
    return pixels


def _read_image(path: Path) -> np.ndarray:
    with open_picture(path) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise InputError(f"expected one image, got {path} of {getattr(image, 'n_frames', 1)} frames")
        if image.mode not in {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}:
            raise InputError(f"expected 8 bits per pixel, got {path} of mode {image.mode}")
        if image.mode == "L" and "transparency" not in image.info:  # the usual one, in a quarter of the memory
            return np.array(image)
        channels = np.asarray(image.convert("RGBA"))
    grey = channels[..., 0]
    if not all(np.array_equal(channels[..., index], grey) for index in (1, 2)):
        raise InputError(f"expected a grey image, got colours in {path}")
    if (channels[..., 3] != 255).any():
        raise InputError(f"expected an opaque image, got transparency in {path}")
    return np.ascontiguousarray(grey)


def holds_images(shape: tuple[int, ...]) -> bool:
    """Whether an array of this shape is one image [h, w], or images [n, 28, 28] or [n, 28, 28, 1]."""
    return len(shape) == 2 or shape[1:] in {(28, 28), (28, 28, 1)}


def collage(images: UInt8[np.ndarray, "n h w 1"]) -> tuple[UInt8[np.ndarray, "..."], int]:
    """All images as one, as square as may be, and its columns; black fills up the last row."""
    columns = math.ceil(math.sqrt(len(images)))
    filled = np.pad(images, ((0, -len(images) % columns), (0, 0), (0, 0), (0, 0)))
    return rearrange(filled, "(row column) h w 1 -> (row h) (column w)", column=columns), columns
