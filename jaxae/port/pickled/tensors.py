"""Tensors of a pickle as NumPy arrays: views of their storages, so that what torch shares is shared here."""

import math
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from jaxae.port.pickled.inert import Unread
from torch_ref.pickle_calls import Made, RefusedPickleError, Storage

_KINDS: dict[str, Any] = {
    **{"Double": np.float64, "Float": np.float32, "Half": np.float16, "BFloat16": ml_dtypes.bfloat16},
    **{"Long": np.int64, "Int": np.int32, "Short": np.int16, "Char": np.int8, "Byte": np.uint8, "Bool": np.bool_},
}
_COMPLEX = {"ComplexFloat": "complex64", "ComplexDouble": "complex128"}
_NAMED = {str(np.dtype(kind)): np.dtype(kind) for kind in (*_KINDS.values(), np.uint16, np.uint32, np.uint64)}
_MOST_ITEMS = 1 << 60  # that NumPy counts


class Storages:
    """Storages of a file, by their keys: bytes, which are seen as arrays of items.

    Args:
        content: Bytes of each storage.
        big: Whether their items are big-endian.
    """

    def __init__(self, content: Mapping[str, bytes], *, big: bool = False):
        self._content, self._big = content, big
        self._arrays: dict[tuple[str, np.dtype], np.ndarray] = {}

    def items(self, key: str, storage: Storage, dtype: np.dtype) -> np.ndarray:
        """The items of a storage, the same memory whenever it is asked for."""
        if (key, dtype) not in self._arrays:
            whole = storage.nbytes // dtype.itemsize
            found = np.frombuffer(self._content[key], np.uint8)[: whole * dtype.itemsize].view(dtype)
            if self._big and dtype.itemsize > 1:
                if dtype.itemsize != storage.item:
                    raise RefusedPickleError("it has big-endian bytes of unknown items")
                found = found.view(f"u{dtype.itemsize}").byteswap().view(dtype)
            self._arrays[key, dtype] = found
        return self._arrays[key, dtype]


def tensor(part: Made, storages: Storages) -> np.ndarray | Unread:
    """The tensor that a call of torch's makes, whose extents the walk has held against its storage.

    Raises:
        RefusedPickleError: If torch writes no such call.
    """
    name, given = part.kind.removeprefix("torch._utils._rebuild_"), part.given
    if name == "meta_tensor_no_storage":
        return Unread(_shape(given[1]), _name(given[0]), "has no data (it is on torch's meta device)")
    if name == "sparse_tensor":
        return _sparse(given)
    if name not in ("tensor", "tensor_v2", "tensor_v3", "qtensor"):
        raise RefusedPickleError(f"it has a tensor by {name[:40]}, which is not ported")
    storage, key, offset = given[0].storage, given[0].key, given[1]
    shape, strides, kind = _shape(given[2]), _shape(given[3]), storage.kind
    if name == "qtensor":
        return Unread(shape, kind.lower(), f"is quantised ({kind.lower()}); convert it with .dequantize()")
    if kind in _COMPLEX:
        return Unread(shape, _COMPLEX[kind], f"is complex ({_COMPLEX[kind]}), which no layer of the table is")
    said = _name(given[6]) if name == "tensor_v3" else str(np.dtype(_KINDS[kind])) if kind in _KINDS else kind
    dtype = _NAMED.get(said)
    if dtype is None:
        return Unread(shape, said, f"is {said}, which is not ported")
    count = math.prod(shape)
    if math.prod(length or 1 for length in shape) >= _MOST_ITEMS:
        return Unread(shape, said, "has axes beyond what NumPy counts")
    if count * dtype.itemsize > storage.nbytes:
        return Unread(shape, said, f"claims {count} elements of {said} over {storage.nbytes} bytes")
    if count == 0:
        return np.empty(shape, dtype)
    items = storages.items(key, storage, dtype)[offset:]
    view = np.lib.stride_tricks.as_strided(
        items, shape, [stride * dtype.itemsize for stride in strides], writeable=False
    )
    return -view if _is_negative(given[7 if name == "tensor_v3" else 6 :]) else view


def _shape(part: Any) -> tuple[int, ...]:
    """Whole numbers of a tuple, or of the torch.Size of one."""
    numbers = part.given[0].parts if part.kind == "torch.Size" else part.parts
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise RefusedPickleError("it has a tensor whose shape is not whole numbers")
    return tuple(numbers)


def _name(part: Any) -> str:
    return part.name.removeprefix("torch.") if isinstance(part, Made) else "?"


def _sparse(given: Any) -> Unread:
    layout = given[0].given[0] if isinstance(given[0], Made) and given[0].given else "sparse"
    shapes = [part for part in given[1].parts[2:4] if isinstance(part, Made) and part.kind in ("torch.Size", "tuple")]
    layout = str(layout).removeprefix("torch.")
    return Unread(_shape(shapes[0]), layout, f"is sparse ({layout[:20]}); convert it with .to_dense()")


def _is_negative(metadata: Any) -> bool:
    """Whether torch's metadata of a tensor say that its numbers are to be negated."""
    said = metadata[0] if metadata else None
    return isinstance(said, Made) and any(
        name == "neg" and value is True for name, value in zip(said.parts, said.values, strict=False)
    )
