"""Files that are whole or absent: written beside, then renamed."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase, BufferedReader
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxae.errors import InputError


@contextmanager
def whole_or_absent(path: Path) -> Iterator[Path]:
    """Give a temporary file beside `path` to write to; it takes that name when the block succeeds.

    A block that raises, or a process that dies in it, leaves what was at `path` before.
    """
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(beside)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        # mkstemp makes files for the owner alone; this one is like any other.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def open_regular(path: Path) -> BufferedReader:
    """Open a file to read, and nothing else: a pipe would be waited for, a device may never end.

    Raises:
        OSError: If the file cannot be opened, or is none.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "it is a pipe or a device, no file", str(path))
    return path.open("rb")


def read_into(file: BufferedIOBase, values: UInt8[np.ndarray, " size"]) -> int:
    """Fill an array of bytes from a file, as far as that goes; the number of bytes that came."""
    filled = 0
    while filled < len(values) and (count := file.readinto(values.data[filled:])):
        filled += count
    return filled


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or absent."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or absent."""
    with whole_or_absent(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def refuse_unwritable(what: str = "a file") -> Iterator[None]:
    """Say of an OSError in the block that what it writes cannot be written.

    Raises:
        InputError: If the block raises one.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"expected {what} that can be written, got {error}") from error


def check_writable(path: Path) -> None:
    """Refuse a file to write that could not be written: before minutes are spent on its content.

    Raises:
        InputError: If the path is a folder, or its own folder is missing or cannot be written to.
    """
    if path.is_dir():
        raise InputError(f"expected the name of a file to write, got the folder {path}")
    folder = path.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"expected a folder that can be written to, got {folder}")
