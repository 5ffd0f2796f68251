"""NumPy's arrays, scalars and dtypes in a pickle, made by what their own functions would have been given."""

import math
import re
from collections.abc import Sequence

import ml_dtypes
import numpy as np

from torch_ref.pickle_calls import RefusedPickleError

_SCALAR = re.compile(r"numpy\.(_core|core)\.multiarray\.scalar")
_ARRAY = re.compile(r"numpy\.(_core|core)\.multiarray\._reconstruct")
_BUFFER = re.compile(r"numpy\.(_core|core)\.numeric\._frombuffer")
_DTYPE = re.compile(r"[?bBhHiIlLqQefd]|[biufcSU]\d{1,9}")


def numpy_value(name: str, given: Sequence[object], state: object) -> np.ndarray | np.generic | np.dtype | None:
    """What a call of NumPy's makes; None where it is none, or of no plain dtype.

    Args:
        name: Name of the function, with its module.
        given: Its arguments.
        state: What the result was given by BUILD, None if it was not.

    Raises:
        RefusedPickleError: If its bytes are not just those of its shape.
    """
    if name == "numpy.dtype":
        return _dtype(given, state)
    if _SCALAR.fullmatch(name) and len(given) == 2:
        made = _array(given[1], given[0], ())
        return None if made is None else made[()]
    if _BUFFER.fullmatch(name) and len(given) == 4:
        return _array(given[0], given[1], given[2], fortran=given[3] == "F")
    if _ARRAY.fullmatch(name) and isinstance(state, tuple) and len(state) == 5:
        return _array(state[4], state[2], state[1], fortran=state[3] is True)
    return None


def _dtype(given: Sequence[object], state: object) -> np.dtype | None:
    said = given[0] if given else None
    if getattr(said, "name", None) == "ml_dtypes.bfloat16":
        return np.dtype(ml_dtypes.bfloat16)
    if not isinstance(said, str) or not _DTYPE.fullmatch(said):
        return None
    order = state[1] if isinstance(state, tuple) and len(state) > 1 else "="
    return np.dtype(said).newbyteorder(order if order in ("<", ">") else "=")


def _array(raw: object, dtype: object, shape: object, *, fortran: bool = False) -> np.ndarray | None:
    if not (isinstance(raw, bytes | bytearray) and isinstance(dtype, np.dtype) and isinstance(shape, tuple)):
        return None
    if not all(type(length) is int and length >= 0 for length in shape):
        raise RefusedPickleError("it has a NumPy array of no shape")
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise RefusedPickleError(f"it has a NumPy array of {len(raw)} bytes, which are not those of its shape")
    array = np.frombuffer(raw, dtype) if raw else np.empty(math.prod(shape), dtype)
    array = array.reshape(shape, order="F" if fortran else "C")
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))
