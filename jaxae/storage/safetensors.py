"""Safetensors files, read and written by the package of that name.

The package writes several keys of metadata in an order that changes, and sorts the tensors. The same weights must
make the same bytes here, and the order of tensors tells a port how their layers were declared: all metadata and that
order are the JSON of one key.
"""

import importlib.metadata
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from jaxae.errors import InputError, brief
from jaxae.storage import documents
from jaxae.storage.files import open_regular, whole_or_absent

Layout = Literal["flax", "torch"]
_KEY = "jaxae"
# Of some 100 bytes a tensor; the package takes more, whose parsing takes seconds and thirty times the memory.
_LARGEST_HEADER = 1 << 24
_NUMBERS = map(np.dtype, ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1"))
_DTYPES = {f"{one.kind.upper()}{8 * one.itemsize}": one for one in _NUMBERS}
_DTYPES |= {"BF16": np.dtype(ml_dtypes.bfloat16), "BOOL": np.dtype(np.bool_)}
# The package's order of tensors in a file: the widest first, so that all are aligned.
_IN_FILES = ["U64", "I64", "F64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16", "I8", "U8", "BOOL"]


@dataclass(frozen=True)
class TensorFile:
    """What a safetensors file holds.

    Attributes:
        arrays: Arrays by name: in the order in which `write` was given them, in a file of another writer in the order
            of its header.
        metadata: Free metadata.
    """

    arrays: dict[str, np.ndarray]
    metadata: dict[str, str]


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that is still in its file.

    Attributes:
        path: Path of the file.
        name: Name of the tensor.
        dtype: Dtype, as the header has it.
        shape: Shape, as the header has it.
        offset: Number of bytes before it in the file.
        opened: The file, which may be deleted meanwhile.
    """

    path: Path
    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int
    opened: "_Opened" = field(repr=False)

    def read(self) -> np.ndarray:
        """A new array of it, read and not mapped: pages of a mapped file stay in memory for as long as it is open.

        Raises:
            InputError: If the file has become shorter meanwhile, or cannot be read.
        """
        done = 0
        with _refusing(self.path):
            array = np.empty(self.shape, self.dtype)  # which a shape of no bytes may still be too much for
            room = array.reshape(-1).view(np.uint8).data if array.size else memoryview(b"")
            while done < len(room):
                count = os.preadv(self.opened.number, [room[done:]], self.offset + done)
                if not count:
                    raise ValueError(f"it ends within {self.name[:80]!r}")
                done += count
        return array

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return self.read() if dtype is None else self.read().astype(dtype, copy=False)


class _Opened:
    """A file that is open for as long as anything of it may be read."""

    def __init__(self, path: Path):
        self.number = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


def read(path: Path) -> TensorFile:
    """Read a file whole; memory is bounded by its size.

    Raises:
        InputError: If it is no such file, or its header and its data disagree.
    """
    stored, metadata = open_tensors(path)
    return TensorFile({name: one.read() for name, one in stored.items()}, metadata)


def open_tensors(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """The tensors of a file, each to be read by itself, and its metadata: see `TensorFile`.

    Raises:
        InputError: If it is no such file, or its header and its data disagree.
    """
    with _refusing(path):
        with open_regular(path) as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _LARGEST_HEADER:
                raise ValueError(f"header too large: {length} bytes")
            text = file.read(length)
        with safe_open(path, framework="np"):
            header = _header(text)  # of which the package has checked every size
        metadata, order = _metadata(header.pop("__metadata__", None) or {})
        names = [name for name in dict.fromkeys((*order, *header)) if name in header]
        opened = _Opened(path)
        stored = {}
        for name in names:
            entry = header[name]
            offset = 8 + length + entry["data_offsets"][0]
            stored[name] = StoredTensor(path, name, _DTYPES[entry["dtype"]], tuple(entry["shape"]), offset, opened)
        return stored, metadata


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"expected a safetensors file, got {path}: {error.strerror}") from error
    except (SafetensorError, ValueError) as error:
        raise InputError(f"expected a sound safetensors file, got {path}: {brief(error, 200)}") from error


@runtime_checkable
class Array(Protocol):
    """An array, or what NumPy makes one of when it is written."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Its dtype."""
        ...

    def __array__(self) -> np.ndarray: ...


def write(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write arrays and metadata, whole or not at all; the same ones make the same bytes, which are the package's.

    Each array is made and written by itself: the package's own writer takes all of them, twice.

    Raises:
        InputError: If the format lacks a dtype, or the file cannot be written.
    """
    names = {dtype: name for name, dtype in _DTYPES.items()}
    for name, array in arrays.items():
        if array.dtype not in names:
            raise InputError(f"expected a dtype that safetensors has, got {array.dtype} of {name!r}")
    own = {_KEY: json.dumps({"metadata": dict(metadata), "order": list(arrays)})}
    header: dict[str, Any] = {"__metadata__": own}
    end = 0
    order = sorted(arrays, key=lambda name: (_IN_FILES.index(names[arrays[name].dtype]), name.encode()))
    for name in order:
        begin, end = end, end + math.prod(arrays[name].shape) * arrays[name].dtype.itemsize
        shape = list(map(int, arrays[name].shape))
        header[name] = {"dtype": names[arrays[name].dtype], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with whole_or_absent(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)


def weight_metadata(layout: Layout, **more: str) -> dict[str, str]:
    """What every file of weights that jaxae writes says of itself, and more."""
    return {
        "format": "pt" if layout == "torch" else "flax",
        "framework": "torch" if layout == "torch" else "jax",
        "layout": layout,
        "writer": f"jaxae {importlib.metadata.version('jaxae')}",
        **more,
    }


def _header(text: bytes) -> dict[str, Any]:
    """The header's JSON: the package neither tells the order of tensors nor refuses twins."""
    header = documents.parse(text)
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"the entry of {name[:80]!r} is not a dtype, a shape and data_offsets")
        if entry["dtype"] not in _DTYPES:
            raise ValueError(f"{name[:80]!r} has the dtype {entry['dtype']}, which is not ported")
    return header


def _metadata(written: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """The metadata and the order of tensors that `write` was given; no order of another writer."""
    if _KEY not in written:
        return written, []
    match documents.parse(written[_KEY]):
        case {"metadata": dict(metadata), "order": list(order)} if all(
            isinstance(text, str) for text in (*metadata.values(), *order)
        ):
            return {name: text for name, text in written.items() if name != _KEY} | metadata, order
    raise ValueError(f"its metadata {_KEY!r} is not a mapping of strings and an order of tensors")
