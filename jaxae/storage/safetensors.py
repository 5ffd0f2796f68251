"""Safetensors files, read and written by the package of that name.

The package writes several keys of metadata in an order that changes, and sorts the tensors. The same weights must
make the same bytes here, and the order of tensors tells a port how their layers were declared: all metadata and that
order are the JSON of one key.
"""

import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Literal

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxae.errors import InputError
from jaxae.storage.files import open_regular, whole_or_absent

Layout = Literal["flax", "torch"]
_KEY = "jaxae"
_NUMBERS = map(np.dtype, ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1"))
_DTYPES = {f"{one.kind.upper()}{8 * one.itemsize}": one for one in _NUMBERS}
_DTYPES |= {"BF16": np.dtype(ml_dtypes.bfloat16), "BOOL": np.dtype(np.bool_)}


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


def read(path: Path) -> TensorFile:
    """Read a file whole; memory is bounded by its size.

    Raises:
        InputError: If it is no such file, or its header and its data disagree.
    """
    try:
        with open_regular(path) as file, safe_open(path, framework="np") as tensors:
            header = _header(file)  # of which the package has checked every size
            metadata, order = _metadata(header.pop("__metadata__", None) or {})
            names = [name for name in dict.fromkeys((*order, *header)) if name in header]
            arrays = {name: tensors.get_tensor(name) for name in names}
        return TensorFile(arrays, metadata)
    except OSError as error:
        raise InputError(f"expected a safetensors file, got {path}: {error.strerror}") from error
    except (SafetensorError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"expected a sound safetensors file, got {path}: {reason}") from error


def write(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays and metadata, whole or not at all; the same ones make the same bytes.

    Raises:
        InputError: If the format lacks a dtype, or the file cannot be written.
    """
    for name, array in arrays.items():
        if array.dtype not in _DTYPES.values():
            raise InputError(f"expected a dtype that safetensors has, got {array.dtype} of {name!r}")
    dense = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    own = {_KEY: json.dumps({"metadata": dict(metadata), "order": list(arrays)})}
    try:
        with whole_or_absent(path) as temporary:
            save_file(dense, temporary, own)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"expected {path} to be written, got an error: {reason}") from error


def weight_metadata(layout: Layout, **more: str) -> dict[str, str]:
    """What every file of weights that jaxae writes says of itself, and more."""
    return {
        "format": "pt" if layout == "torch" else "flax",
        "framework": "torch" if layout == "torch" else "jax",
        "layout": layout,
        "writer": f"jaxae {importlib.metadata.version('jaxae')}",
        **more,
    }


def _header(file: BufferedIOBase) -> dict[str, Any]:
    """The header's JSON: the package neither tells the order of tensors nor refuses twins."""
    length = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(length), object_pairs_hook=_without_twins)
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"the entry of {name[:80]!r} is not a dtype, a shape and data_offsets")
        if entry["dtype"] not in _DTYPES:
            raise ValueError(f"{name[:80]!r} has the dtype {entry['dtype']}, which is not ported")
    return header


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"its header names {name[:80]!r} twice")
        found[name] = value
    return found


def _metadata(written: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """The metadata and the order of tensors that `write` was given; no order of another writer."""
    if _KEY not in written:
        return written, []
    match json.loads(written[_KEY]):
        case {"metadata": dict(metadata), "order": list(order)} if all(
            isinstance(text, str) for text in (*metadata.values(), *order)
        ):
            return {name: text for name, text in written.items() if name != _KEY} | metadata, order
    raise ValueError(f"its metadata {_KEY!r} is not a mapping of strings and an order of tensors")
