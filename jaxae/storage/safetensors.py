"""The safetensors format, read and written with NumPy alone.

Eight bytes of header length, a JSON header of names, dtypes, shapes and offsets, then the data
(github.com/huggingface/safetensors, README, "Format"). The header comes from strangers: every size
in it is held against the file's before a byte of data is read.

Not the package of that name, whose metadata come in another order each time: the same weights must
make the same bytes here.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from jaxae.errors import InputError
from jaxae.storage.files import whole_or_absent

_DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_LARGEST_HEADER = 100_000_000  # the reference implementation's own limit


@dataclass(frozen=True)
class TensorFile:
    """What a safetensors file holds: arrays in the header's order, and its free metadata."""

    arrays: dict[str, np.ndarray]
    metadata: dict[str, str]


def read(path: Path) -> TensorFile:
    """Read a file whole; memory is bounded by its size.

    Raises:
        InputError: If it is no such file, or its header and its data disagree.
    """
    try:
        with path.open("rb") as file:
            return _read(file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise InputError(f"expected a safetensors file, got {path}: {error.strerror}") from error
    except InputError as error:
        raise InputError(f"{path} is no sound safetensors file: {error}") from error


def write(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays in their order and metadata, whole or not at all.

    Raises:
        InputError: If the format lacks a dtype, or the file cannot be written.
    """
    for name, array in arrays.items():
        if array.dtype not in _NAMES:
            raise InputError(f"safetensors has no {array.dtype}, which {name!r} is")
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    header |= dict.fromkeys(arrays)
    start = 0
    # Widest items first: then each array begins where its own type may be mapped.
    laid = sorted(arrays, key=lambda name: -arrays[name].dtype.itemsize)
    for name in laid:
        array = arrays[name]
        offsets = [start, start + array.nbytes]
        start += array.nbytes
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": offsets,
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    try:
        with whole_or_absent(path) as temporary, temporary.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in laid:
                file.write(np.ascontiguousarray(arrays[name]).tobytes())
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def _read(file: BinaryIO, size: int) -> TensorFile:
    if size < 8:
        raise InputError(f"it has {size} bytes")
    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, _LARGEST_HEADER):
        raise InputError(f"its header claims {length} bytes of the {size} that there are")
    header = _header(file.read(length))
    metadata = header.pop("__metadata__", {})
    if not (isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())):
        raise InputError("its metadata is not a mapping of strings")
    entries = {name: _entry(name, entry) for name, entry in header.items()}
    _check_layout(entries, size - 8 - length)
    data = memoryview(file.read(size - 8 - length))
    arrays = {
        name: np.frombuffer(data[begin:end], np.uint8).view(dtype).reshape(shape)
        for name, (dtype, shape, begin, end) in entries.items()
    }
    return TensorFile(arrays, metadata)


def _header(text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"its header names {twice!r} twice")
        return found

    try:
        header = json.loads(text.decode(), object_pairs_hook=unique)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"its header is no JSON ({str(error)[:80]})") from error
    if not isinstance(header, dict):
        raise InputError("its header is no JSON object")
    return header


def _entry(name: str, entry: Any) -> tuple[np.dtype, tuple[int, ...], int, int]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise InputError(f"the entry of {name!r} is not a dtype, a shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise InputError(f"{name!r} has the dtype {str(dtype)[:40]!r}, which is not ported")
    if not _are_sizes(shape) or len(shape) > 32:
        raise InputError(f"{name!r} has the shape {str(shape)[:80]}")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise InputError(f"{name!r} has the offsets {str(offsets)[:80]}")
    begin, end = offsets
    stated = math.prod(shape) * _DTYPES[dtype].itemsize
    if stated != end - begin:
        raise InputError(f"{name!r} claims {_count(stated)} bytes by its shape {str(shape)[:80]}, "
                         f"{_count(end - begin)} by its offsets")  # fmt: skip
    return _DTYPES[dtype], tuple(shape), begin, end


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int and one >= 0 for one in value)


def _count(number: int) -> str:
    return str(number) if abs(number) < 10**18 else f"about 2**{number.bit_length()}"


def _check_layout(
    entries: Mapping[str, tuple[np.dtype, tuple[int, ...], int, int]], size: int
) -> None:
    """Tensors must fill the data one after the other, with no overlap and no gap."""
    reached, before = 0, None
    for name in sorted(entries, key=lambda name: entries[name][2:]):
        _, _, begin, end = entries[name]
        if end > size:
            raise InputError(f"{name!r} ends at byte {_count(end)} of {size} bytes of data")
        if begin < reached:
            raise InputError(f"{name!r} overlaps {before!r}")
        if begin > reached:
            raise InputError(f"there is a gap before {name!r}")
        reached, before = end, name
    if reached != size:
        raise InputError(f"its header describes {reached} of {size} bytes of data")
