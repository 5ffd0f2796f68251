"""Pictures made one shape: turned as their EXIF says, square, of one size, grey or in colours."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Num, UInt8

from jaxae.bounds import check_fits
from jaxae.config import Fit, Reading
from jaxae.errors import InputError
from jaxae.storage.extra import extra

if TYPE_CHECKING:
    from PIL import Image

_ORIENTATION = 0x0112  # the EXIF tag
# Luminance as Pillow's "L" has it (ITU-R 601-2), in 16 bits.
_LUMINANCE = np.array([19595, 38470, 7471], np.uint32)


def decode(picture: "Image.Image", name: str, reading: Reading) -> UInt8[np.ndarray, "h w c"]:
    """The pixels of an open picture, turned as its EXIF says and made what the reading asks: one channel, or three.

    What is transparent lies on black.

    Raises:
        InputError: If it has other than 8 bits a channel.
    """
    if picture.mode not in {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}:
        raise InputError(f"expected 8 bits per pixel and channel, got {name} of mode {picture.mode}")
    if picture.getexif().get(_ORIENTATION, 1) != 1:
        picture = extra("PIL.ImageOps", "pillow").exif_transpose(picture)
    if "transparency" in picture.info or picture.mode in {"LA", "PA", "RGBA"}:
        opaque = extra("PIL.Image", "pillow").new("RGBA", picture.size, (0, 0, 0, 255))
        opaque.alpha_composite(picture.convert("RGBA"))
        grey = picture.mode in {"L", "LA"}
        picture = opaque.convert("L" if grey else "RGB")
    picture = picture.convert("L" if reading.grey or picture.mode in {"1", "L"} else "RGB")
    if reading.size is not None:
        picture = _fit(picture, reading.size, reading.fit)
    pixels = np.asarray(picture)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def fit_images(images: Num[np.ndarray, "n h w c"], reading: Reading) -> Num[np.ndarray, "n _ _ _"]:
    """Images made what the reading asks; the very array where they are that already.

    Raises:
        InputError: If they are to be resampled and are no bytes of one or three channels, or do not fit into memory.
    """
    changes = reading.size is not None and images.shape[1:3] != (reading.size, reading.size)
    greys = reading.grey and images.shape[3] != 1
    if not (changes or greys):
        return images
    if images.dtype != np.uint8 or images.shape[3] not in (1, 3):
        shape = "x".join(map(str, images.shape))
        raise InputError(f"expected uint8 images of 1 or 3 channels to make others, got {images.dtype} of {shape}")
    if greys:
        images = np.stack([luminance(image) for image in images])[..., None]
    if not changes or reading.size is None:
        return images
    made = empty_images(len(images), (reading.size, reading.size, images.shape[3]))
    pil = extra("PIL.Image", "pillow")
    for place, image in enumerate(images):
        picture = pil.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))
        made[place] = np.asarray(_fit(picture, reading.size, reading.fit)).reshape(made.shape[1:])
    return made


def luminance(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
    """The luminance of a picture in colours, to the bit as Pillow computes it."""
    return ((image.astype(np.uint32) @ _LUMINANCE + 0x8000) >> 16).astype(np.uint8)


def fitting_note(shape: tuple[int, ...], reading: Reading) -> tuple[str, ...]:
    """What is done to images of this shape (height, width, channels) as the reading asks, a clause each."""
    notes = []
    height, width, channels = shape
    if reading.size is not None and (height, width) != (reading.size, reading.size):
        square = "" if height == width else "cropped to their middle, " if reading.fit == "crop" else "padded, "
        notes.append(f"images of {width}x{height} are {square}resampled to {reading.size}x{reading.size}")
    if reading.grey and channels != 1:
        notes.append("colours are made grey by their luminance")
    return tuple(notes)


def empty_images(count: int, shape: tuple[int, ...]) -> np.ndarray:
    """Memory for so many images of bytes.

    Raises:
        InputError: If that is more than there is.
    """
    check_fits(f"{count} images of {'x'.join(map(str, shape))}", count * int(np.prod(shape, dtype=object)))
    return np.empty((count, *shape), np.uint8)


def _fit(picture: "Image.Image", size: int, fit: Fit) -> "Image.Image":
    """The picture made square, then resampled."""
    width, height = picture.size
    if width != height:
        side = min(width, height) if fit == "crop" else max(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        picture = picture.crop((left, top, left + side, top + side))  # beyond the edges Pillow's crop has black
    if picture.size == (size, size):
        return picture
    return picture.resize((size, size), extra("PIL.Image", "pillow").Resampling.BICUBIC)
