"""Fused multiply-add, which NumPy lacks and torch's CPU kernels are compiled to use."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64


def multiply_add(x: Float[np.ndarray, "..."], factor: float, offset: float) -> Float[np.ndarray, "..."]:
    """`x * factor + offset` for float32 or float64 x, rounded once to x's dtype.

    factor and offset are values of that dtype; infinities and NaN pass as in plain arithmetic.
    """
    if factor == 1 and offset == 0:
        return x + x.dtype.type(0)  # only -0 changes, to 0
    if not (math.isfinite(factor) and math.isfinite(offset)):
        return x * x.dtype.type(factor) + x.dtype.type(offset)
    if x.dtype == np.float32:
        return _multiply_add_float32(x, factor, offset)
    return _multiply_add_float64(x, factor, offset)


def _multiply_add_float32(x: Float32[np.ndarray, "..."], factor: float, offset: float) -> Float32[np.ndarray, "..."]:
    product = x.astype(np.float64) * factor  # exact: 24 bits times 24
    total = product + offset
    if offset == 0:
        return total.astype(np.float32)
    # Rounding twice errs only where the first rounding ends halfway between two float32 values, which shows in the 29
    # bits that they lack. Subnormals lack more, but a sum so small is exact unless the offset is tiny too.
    halfway = (total.view(np.int64) & 0x1FFFFFFF) == 0x10000000
    if abs(offset) < 2**-90 or halfway.any():
        total = _round_to_odd(*_two_sum(product, offset))
    return total.astype(np.float32)


def _multiply_add_float64(x: Float64[np.ndarray, "..."], factor: float, offset: float) -> Float64[np.ndarray, "..."]:
    # Splitting multiplies by 2**27: bring the larger of the two below 1.
    scale = math.frexp(max(abs(factor), abs(offset)))[1]
    factor, offset = math.ldexp(factor, -scale), math.ldexp(offset, -scale)
    high, low = _split(x)
    factor_high, factor_low = _split(factor)
    product = x * factor
    rest = ((high * factor_high - product) + high * factor_low + low * factor_high) + low * factor_low
    upper, lower = _two_sum(rest, offset)
    total, error = _two_sum(upper, product)
    return np.ldexp(total + _round_to_odd(*_two_sum(error, lower)), scale)


def _two_sum(a: Float64[np.ndarray, "..."], b: Any) -> tuple[Float64[np.ndarray, "..."], Float64[np.ndarray, "..."]]:
    """The rounded sum and, exactly, what rounding took from it (Knuth)."""
    total = a + b
    other = total - a
    return total, (a - (total - other)) + (b - other)


def _round_to_odd(total: Float64[np.ndarray, "..."], error: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    """Of an inexact sum's two neighbours, the one whose last bit is 1.

    A second, coarser rounding then ends where the exact sum's would (Boldo and Melquiond, "Emulation of FMA and
    correctly rounded sums", 2008).
    """
    even = (total.view(np.int64) & 1) == 0
    nudged = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    return np.where((error != 0) & even, nudged, total)


def _split(x: Any) -> tuple[Any, Any]:
    """Two halves of at most 26 bits each, whose products are exact (Veltkamp)."""
    shifted = x * 134217729.0
    high = shifted - (shifted - x)
    return high, x - high
