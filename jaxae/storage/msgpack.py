"""Files of `flax.serialization`: msgpack, with arrays as extensions of it.

What a stranger's file says is held against its bytes: an array's dtype is one of numbers, and its bytes are as many as
its shape needs. Nothing in such a file is code.
"""

import math
from pathlib import Path
from typing import Any

import ml_dtypes
import msgpack
import numpy as np

from jaxae.errors import InputError, brief
from jaxae.storage.files import open_regular

_NAMES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_FLOATS = ("float16", "float32", "float64", "complex64", "complex128")
_DTYPES = {name: np.dtype(name) for name in (*_NAMES, *_FLOATS)} | {"bfloat16": np.dtype(ml_dtypes.bfloat16)}
_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3  # flax's numbers of its extensions
_CHUNKED = "__msgpack_chunked_array__"


def read(path: Path) -> dict[str, Any]:
    """Read a nested dict of arrays, numbers and texts; memory is bounded by the file's size.

    Raises:
        InputError: If it is no such file, or it is damaged.
    """
    try:
        with open_regular(path) as file:
            content = file.read()
        # Which bounds the length of every part by the file's, and the depth by 1024.
        tree = msgpack.unpackb(content, ext_hook=_extension, object_pairs_hook=_mapping)
    except OSError as error:
        raise InputError(f"expected a msgpack file, got {path}: {error.strerror or error}") from error
    except Exception as error:  # of msgpack's own types and of Python's
        reason = brief(error, 120) or type(error).__name__
        raise InputError(f"expected a sound msgpack file of flax, got {path}: {reason}") from error
    if not isinstance(tree, dict):
        raise InputError(f"expected a msgpack file of flax that holds a dict, got {path} with a {type(tree).__name__}")
    return tree


def _mapping(pairs: list[tuple[Any, Any]]) -> dict[str, Any] | np.ndarray:
    """A dict, or the array that flax cut into chunks because it is larger than msgpack's parts may be."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("two entries of one name")
    if not all(isinstance(name, str) for name in made):
        raise ValueError("an entry whose name is no text")
    if _CHUNKED not in made:
        return made
    shape = tuple(_numbered(made["shape"]))
    flat = np.concatenate(_numbered(made["chunks"]))
    return _shaped(flat, shape)


def _numbered(entries: dict[str, Any]) -> list[Any]:
    return [entries[str(number)] for number in range(len(entries))]


def _extension(code: int, data: bytes) -> Any:
    if code in (_ARRAY, _SCALAR):
        shape, dtype, content = msgpack.unpackb(data, raw=True)
        name = dtype.decode()
        if name not in _DTYPES:
            raise ValueError(f"an array of {brief(name)}")
        array = np.frombuffer(content, _DTYPES[name])
        array = _shaped(array, tuple(shape))
        return array if code == _ARRAY else array[()]
    if code == _COMPLEX:
        real, imaginary = msgpack.unpackb(data)
        return complex(real, imaginary)
    raise ValueError(f"an extension {code} that flax does not write")


def _shaped(flat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if not all(type(size) is int and 0 <= size < 1 << 60 for size in shape) or math.prod(shape) != flat.size:
        raise ValueError(f"{flat.size} elements for an array {brief(list(shape[:8]))}")
    return flat.reshape(shape)
