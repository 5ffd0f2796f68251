"""Arrays of .npz and .npy files: whole or absent, and nothing of a stranger's file believed when read.

No pickle is ever loaded, and no memory is asked for that the file does not fill: NumPy's own reader reserves what a
header claims, and its header parser raises nearly any type.
"""

import math
import zipfile
from collections.abc import Mapping
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from numpy.lib import format as npy_format

from jaxae.errors import InputError, brief
from jaxae.storage.files import open_regular, read_into, whole_or_absent

_HEADERS = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}

# What an archive may unpack to: a gigabyte, or a hundred times its size. DEFLATE reaches a thousand, pictures ten.
_SMALL, _LARGEST_RATIO = 1 << 30, 100


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to `path`, whole or absent.

    Raises:
        InputError: If the file cannot be written.
    """
    with whole_or_absent(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read(path: Path) -> dict[str, np.ndarray]:
    """Read every array of a .npz file.

    Raises:
        InputError: If the file cannot be read, is damaged, unpacks to far more than its size, or holds what is no array
            of plain values.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len({member.filename for member in members}) < len(members):
                raise ValueError("it has two members of one name")
            if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
                raise ValueError("its members are packed in a way that NumPy does not")
            if sum(member.file_size for member in members) > max(_SMALL, _LARGEST_RATIO * path.stat().st_size):
                raise ValueError("it unpacks to far more than its size")
            arrays = {}
            for member in members:
                with archive.open(member) as content:
                    assert isinstance(content, BufferedIOBase)  # declared as IO[bytes]
                    arrays[member.filename.removesuffix(".npy")] = _read(content, member.file_size)
            return arrays
    except Exception as error:  # zip, DEFLATE and header trip over damage in as many ways as there are bytes
        raise InputError(f"expected a sound .npz file, got {path}: {_reason(error)}") from error


def read_npy(path: Path) -> np.ndarray:
    """Read the array of a .npy file.

    Raises:
        InputError: If the file cannot be read, is damaged, or holds what is no array of plain values.
    """
    try:
        with open_regular(path) as file:
            return _read(file, path.stat().st_size)
    except Exception as error:  # as above
        raise InputError(f"expected a sound .npy file, got {path}: {_reason(error)}") from error


def _read(file: BufferedIOBase, size: int) -> np.ndarray:
    """The array that a file of this size holds."""
    version = npy_format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"its format {version} is unknown")
    shape, fortran, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which only running code could read")
    # Items without a size are as many as a header says.
    if min(shape, default=0) < 0 or math.prod(shape) * max(dtype.itemsize, 1) > size:
        raise ValueError(f"its header claims an array {list(shape)[:8]} of {dtype}, which it does not hold")
    raw = np.empty(math.prod(shape) * dtype.itemsize, np.uint8)
    if read_into(file, raw) < len(raw) or file.read(1):
        raise ValueError("it holds another number of bytes than its header tells of")
    flat = raw.view(dtype) if len(raw) else np.empty(math.prod(shape), dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def _reason(error: Exception) -> str:
    # strerror of an OSError alone: its text names the file once more.
    text = str(getattr(error, "strerror", None) or error) or type(error).__name__
    return brief(text, 200)
