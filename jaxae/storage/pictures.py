"""Picture files, opened by Pillow alone and within its bounds."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from jaxae.errors import InputError, brief
from jaxae.storage.extra import extra
from jaxae.storage.files import open_regular

if TYPE_CHECKING:
    from PIL import Image

# Formats that Pillow reads by itself: for others, PostScript among them, it starts a program.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TGA", "TIFF", "WEBP")


@contextmanager
def open_picture(source: Path | bytes, name: str = "") -> Iterator["Image.Image"]:
    """A picture of a file, whose pixels are read in the block, by Pillow and not by other programs.

    Args:
        source: Path of the file, or its content.
        name: What a message calls it; by default its path.

    Raises:
        InputError: If the file cannot be read or is damaged, or has more pixels than Pillow takes for honest.
    """
    pil = extra("PIL.Image", "pillow")
    try:
        with open_regular(source) if isinstance(source, Path) else BytesIO(source) as file, warnings.catch_warnings():
            warnings.simplefilter("error", pil.DecompressionBombWarning)
            with pil.open(file, formats=_FORMATS) as picture:
                yield picture
    except InputError:
        raise
    # What a damaged file raises is whatever the format's reader trips over.
    except Exception as error:
        reason = brief(getattr(error, "strerror", None) or f"{error}" or type(error).__name__, 200)
        told = name or str(source if isinstance(source, Path) else "its content")
        raise InputError(f"expected an image file, got {told}: {reason}") from error
