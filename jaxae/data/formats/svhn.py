"""SVHN's cropped digits, as its authors packed them: MATLAB files of X [32, 32, 3, n] and y, where 10 stands for 0.

The format is MATLAB's Level 5 (matfile_format.pdf of MathWorks). It is read here since SciPy's reader dies of damaged
files.
"""

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxae.data.formats.arrays import found_of, split_of
from jaxae.data.reading import Found, Part
from jaxae.errors import InputError, brief
from jaxae.storage.files import open_regular

# What a file may unpack to: a gigabyte, or a hundred times its size.
_SMALL, _LARGEST_RATIO = 1 << 30, 100
_HEADER, _LITTLE_ENDIAN = 128, b"\x00\x01IM"
_MATRIX, _PACKED = 14, 15
_KINDS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
_MOST_DIMENSIONS = 8


def read_mats(files: Sequence[Path]) -> Found:
    """A data set of .mat files, whose names say which split each is; of one alone, the training set.

    Raises:
        InputError: If a file cannot be read, or holds no images X and labels y.
    """
    if len(files) == 1:
        return found_of({"train": _read(files[0])}, num_classes=10)
    chosen = {split: path for path in files if (split := split_of(path.stem))}
    if "train" not in chosen:
        told = brief(", ".join(path.name for path in files), 150)
        raise InputError(f"expected train_32x32.mat and test_32x32.mat in {files[0].parent}, got {told}")
    return found_of({split: _read(path) for split, path in chosen.items()}, num_classes=10)


def _read(path: Path) -> Part:
    try:
        with open_regular(path) as file:
            arrays = dict(_arrays(memoryview(file.read())))
    except (OSError, ValueError, struct.error, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"expected a .mat file of SVHN, got {path}: {brief(reason, 200)}") from error
    if not {"X", "y"} <= set(arrays):
        raise InputError(f"expected X and y of SVHN in {path}, got {brief(', '.join(arrays), 100) or 'nothing'}")
    images, labels = arrays["X"], arrays["y"].ravel()
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[2] != 3 or len(labels) != images.shape[3]:
        told = f"{images.dtype} {list(images.shape)} and {len(labels)}"
        raise InputError(f"expected uint8 X [32, 32, 3, n] and n labels y in {path}, got {told}")
    if not len(labels) or not np.isin(labels, np.arange(11)).all():
        raise InputError(f"expected labels from 1 to 10 in {path}, got others")
    return Part(np.ascontiguousarray(images.transpose(3, 0, 1, 2)), labels.astype(np.int32) % 10)


def _arrays(content: memoryview) -> Iterator[tuple[str, np.ndarray]]:
    """The numeric arrays of a file, by name; what else it holds is passed over."""
    if bytes(content[_HEADER - 4 : _HEADER]) != _LITTLE_ENDIAN:
        raise ValueError("it is no little-endian file of MATLAB's Level 5")
    most = max(_SMALL, _LARGEST_RATIO * len(content))
    at = _HEADER
    while at < len(content):
        kind, data, at = _element(content, at, padded=False)
        if kind == _PACKED:
            unpacker = zlib.decompressobj()
            unpacked = memoryview(unpacker.decompress(data, most))
            if not unpacker.eof:
                raise ValueError("it is truncated, or unpacks to far more than its size")
            most -= len(unpacked)
            kind, data, _ = _element(unpacked, 0)
        if kind == _MATRIX and (array := _matrix(data)) is not None:
            yield array


def _matrix(data: memoryview) -> tuple[str, np.ndarray] | None:
    """The name and the values of a matrix of numbers; None of any other."""
    _, flags, at = _element(data, 0)
    _, dimensions, at = _element(data, at)
    _, name, at = _element(data, at)
    if len(flags) != 8 or flags[1] & 8 or not 6 <= flags[0] <= 15 or len(dimensions) > 4 * _MOST_DIMENSIONS:
        return None
    kind, values, _ = _element(data, at)
    shape = struct.unpack(f"<{len(dimensions) // 4}i", dimensions)
    if kind not in _KINDS or min(shape) < 0:
        raise ValueError("it has a matrix of no kind or shape")
    dtype = np.dtype(_KINDS[kind])
    if math.prod(shape) * dtype.itemsize != len(values):
        raise ValueError(f"it has a matrix of {len(values)} bytes, which are not those of its shape")
    # Of whatever class, numbers are kept as the smallest kind that holds them.
    return bytes(name).decode("latin1"), np.frombuffer(values, dtype).reshape(shape, order="F")


def _element(content: memoryview, at: int, *, padded: bool = True) -> tuple[int, memoryview, int]:
    """The kind and the data of the element at a place, and the place of the next."""
    kind, size = struct.unpack_from("<II", content, at)
    if kind >> 16:  # a small one: its size in the upper half of the kind, its data in the place of the size
        kind, size, begin, following = kind & 0xFFFF, kind >> 16, at + 4, at + 8
    else:
        begin = at + 8
        following = begin + size + (-size % 8 if padded else 0)
    if begin + size > len(content) or (begin == at + 4 and size > 4):
        raise ValueError("it is truncated, or an element claims more than there is")
    return kind, content[begin : begin + size], following
