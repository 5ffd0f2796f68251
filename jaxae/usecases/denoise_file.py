"""Denoise a picture: one character, or a sheet of them."""

from pathlib import Path

import numpy as np
from einops import rearrange
from jaxtyping import UInt8

from jaxae.data.pixels import as_unit_float
from jaxae.errors import InputError
from jaxae.network.apply import reconstruct
from jaxae.network.models import Autoencoder
from jaxae.storage.extra import extra
from jaxae.storage.files import check_writable, whole_or_absent
from jaxae.storage.pictures import open_picture

_SIDE = 28


def denoise_file(source: Path, destination: Path, model: Autoencoder, *, tiles: bool) -> None:
    """Denoise a picture of one character, or with `tiles` of many.

    The network knows 28x28 characters, light on dark. A picture is made grey; one whose border is light is inverted
    for the network and back. A picture of one character is resized to 28x28, and written so; a sheet of tiles is cut
    into 28x28, its edges filled up with the background, and written in its own size.

    Raises:
        InputError: If the source cannot be read or the destination cannot be written.
    """
    check_writable(destination, inputs=[source])
    check_picture(destination)
    pil = extra("PIL.Image", "pillow")
    with open_picture(source) as picture:
        grey = picture.convert("L")
    if not tiles and grey.size != (_SIDE, _SIDE):
        grey = grey.resize((_SIDE, _SIDE), pil.Resampling.BOX)
    result = pil.fromarray(_denoise_grey(np.asarray(grey), model))
    with whole_or_absent(destination) as temporary:
        result.save(temporary)


def check_picture(path: Path) -> None:
    """Refuse a name whose ending is of no format that grey pictures can be written in.

    Raises:
        InputError: If it is not, or Pillow is not installed.
    """
    pil = extra("PIL.Image", "pillow")
    if pil.registered_extensions().get(path.suffix.lower()) not in pil.SAVE:
        raise InputError(f"expected a picture's name to write, such as clean.png, got {path}")


def _denoise_grey(pixels: UInt8[np.ndarray, "h w"], model: Autoencoder) -> np.ndarray:
    light = np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])) > 127
    if light:
        pixels = 255 - pixels
    height, width = pixels.shape
    padded = np.pad(pixels, ((0, -height % _SIDE), (0, -width % _SIDE)))
    tiles = as_unit_float(rearrange(padded, "(row h) (column w) -> (row column) h w 1", h=_SIDE, w=_SIDE))
    rows = len(padded) // _SIDE
    restored = rearrange(reconstruct(model, tiles), "(row column) h w 1 -> (row h) (column w)", row=rows)
    result = np.round(255 * restored[:height, :width]).astype(np.uint8)
    return 255 - result if light else result
