"""Files that are whole or absent: written beside, then renamed."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from jaxae.errors import InputError


def write_whole(path: Path, fill: Callable[[BinaryIO], None]) -> None:
    """Write a file through `fill`; a failure at any instant leaves what was there before.

    Raises:
        InputError: If the folder is not there or cannot be written to.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            with beside.open("wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                beside.unlink()
    except OSError as error:
        raise InputError(
            f"expected a file that can be written, got {path}: {error.strerror}"
        ) from error
