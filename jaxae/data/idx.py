"""IDX: the file format of MNIST and its relatives, as torchvision or the original sites leave it.

The format: two zero bytes, a type byte (8 for uint8), the number of dimensions, each dimension as a big-endian 32-bit
integer, then the values (http://yann.lecun.com/exdb/mnist/).
"""

import gzip
import io
import math
import struct
import zlib
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import UInt8

from jaxae.errors import InputError, brief
from jaxae.storage.files import open_regular, read_into

# torchvision keeps each set in a folder of this name, and the files in `raw` below it.
_TORCHVISION_FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST", "emnist": "EMNIST"}

# DEFLATE makes at most 1,032 bytes of one (https://zlib.net/zlib_tech.html).
_LARGEST_GZIP_RATIO = 1032


class Files(NamedTuple):
    """The four files of a data set."""

    train_images: Path
    train_labels: Path
    test_images: Path
    test_labels: Path


def file_names(name: str) -> Files:
    """List the four file names of data set `name`, as its original site has them, without .gz."""
    family, _, subset = name.partition("/")
    train, test = ("train", "t10k")
    if family == "emnist":
        train, test = f"emnist-{subset}-train", f"emnist-{subset}-test"
    return Files(
        Path(f"{train}-images-idx3-ubyte"),
        Path(f"{train}-labels-idx1-ubyte"),
        Path(f"{test}-images-idx3-ubyte"),
        Path(f"{test}-labels-idx1-ubyte"),
    )


def find_files(name: str, folder: Path) -> Files | None:
    """Find the four files of data set `name` in `folder` or where torchvision keeps them below it.

    Returns None where there is none of them.

    Raises:
        InputError: If some of the four are there and some are not.
    """
    family = name.partition("/")[0]
    kept = _TORCHVISION_FOLDERS.get(family)
    if kept is None:
        return None
    own = [folder / own / inner for own in (kept, family) for inner in ("raw", "", "raw/gzip")]
    for place in [*own, folder, folder / "raw", folder / "gzip"]:
        wanted = file_names(name)
        found = [_find_file(place, path.name) for path in wanted]
        missing = [path.name for path, at in zip(wanted, found, strict=True) if at is None]
        if not missing:
            return Files(*cast(list[Path], found))
        if len(missing) < len(wanted):
            raise InputError(
                f"expected all files of {name} in {place}, got no {' and '.join(missing)} (with or without .gz)"
            )
    return None


def read(path: Path, ndim: int) -> UInt8[np.ndarray, "*dims"]:
    """Read an IDX file of uint8 values in `ndim` dimensions, gzipped or not.

    Raises:
        InputError: If the file cannot be read, is no such IDX file, or is shorter or longer than its header says.
    """
    try:
        size = path.stat().st_size
        if _is_gzip(path):
            with gzip.open(path) as file:
                return _read(file, path, ndim, size * _LARGEST_GZIP_RATIO)
        with open_regular(path) as file:
            return _read(file, path, ndim, size)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"expected an IDX file that can be read, got {path}: {brief(error, 200)}") from error


def first_bytes(path: Path, count: int) -> bytes:
    """The first bytes of what a file holds, unpacked if it is gzipped.

    Raises:
        OSError: If it cannot be read, or is no gzip though it begins so.
    """
    try:
        if not _is_gzip(path):
            with open_regular(path) as file:
                return file.read(count)
        with gzip.open(path) as file:
            return file.read(count)
    except (EOFError, zlib.error) as error:
        raise OSError(str(error)) from error


def _find_file(folder: Path, name: str) -> Path | None:
    dotted = name.replace("-idx", ".idx")
    for candidate in (name, dotted, f"{name}.gz", f"{dotted}.gz"):
        if (folder / candidate).is_file():
            return folder / candidate
    return None


def _is_gzip(path: Path) -> bool:
    # By content: browsers unpack .gz and keep the name, others pack and drop it.
    with open_regular(path) as file:
        return file.read(2) == b"\x1f\x8b"


def _read(file: io.BufferedIOBase, path: Path, ndim: int, stored: int) -> np.ndarray:
    header = file.read(4 + 4 * ndim)
    magic = bytes((0, 0, 8, ndim))
    if header[:4] != magic:
        raise InputError(
            f"expected an IDX file of uint8 in {ndim} dimensions, which begins with {magic.hex()},"
            f" got {path}, which begins with {header[:4].hex() or 'nothing'}"
        )
    if len(header) < 4 + 4 * ndim:
        raise InputError(f"expected a whole IDX header, got {path}, which ends within it")
    shape = struct.unpack(f">{ndim}I", header[4:])
    # A header may lie: no memory is asked for that the file cannot fill, no shape that NumPy cannot count.
    if math.prod(shape) > stored or math.prod(length or 1 for length in shape) >= 1 << 62:
        raise InputError(
            f"expected the {math.prod(shape)} values that its header promises, got {path}, which is"
            " truncated: the file cannot hold them"
        )
    values = np.empty(math.prod(shape), np.uint8)
    if (filled := read_into(file, values)) < len(values):
        raise InputError(
            f"expected the {len(values)} values that its header promises, got {path}, which is"
            f" truncated and holds {filled}"
        )
    if file.read(1):
        raise InputError(f"expected the {len(values)} values that its header promises, got {path}, which holds more")
    return values.reshape(shape)
