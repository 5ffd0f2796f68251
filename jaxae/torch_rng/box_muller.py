"""Normals from pairs of uniforms, rounded as torch's CPU kernels round them.

The float32 form follows ATen/native/cpu/avx_mathfun.h (Cephes' logf, sinf and cosf) and `NormalFill16` in
DistributionTemplates.h one rounding at a time, fusing the multiplications and additions that GCC fuses in torch's own
build. Which those are was found by comparing bits: of six ways to fuse, one left no difference.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64


def by_libm(function: Callable[[float], float], x: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """The C library's function of each element, as torch's scalar loops call it.

    NumPy's vectorised ones would be faster, and differ in 0.2 % of the normals by up to 2 ulp.
    """
    return np.fromiter(map(function, x.reshape(-1).tolist()), np.float64, x.size).reshape(x.shape)


def box_muller_float64(
    u1: Float64[np.ndarray, "n 8"], u2: Float64[np.ndarray, "n 8"]
) -> tuple[Float64[np.ndarray, "n 8"], Float64[np.ndarray, "n 8"]]:
    """Two standard normals from each u1 in (0, 1] and u2 in [0, 1), in double precision."""
    radius = np.sqrt(-2 * by_libm(math.log, 1 - u1))
    theta = 2 * math.pi * u2
    return radius * by_libm(math.cos, theta), radius * by_libm(math.sin, theta)


def _to_float32(x: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    """Rounded to float32, kept as float64.

    After one sum, product or root of float32 values it gives what float32 arithmetic would. After `a * b + c` it
    gives the fused form, for the product is exact in float64 (the sum is rounded twice, which goes wrong once in
    2**29 times).
    """
    return x.astype(np.float32).astype(np.float64)


def _single(*values: float) -> list[float]:
    return [float(np.float32(value)) for value in values]


_SQRT_HALF, _LOG_Q1, _LOG_Q2, _FOUR_OVER_PI, _TWO_PI = _single(
    0.707106781186547524, -2.12194440e-4, 0.693359375, 1.27323954473516, 2 * math.pi
)
_LOG_P0, *_LOG_P = _single(
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
_MINUS_QUARTER_PI = _single(-0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8)
_COS_P0, _COS_P1, _COS_P2 = _single(2.443315711809948e-005, -1.388731625493765e-003, 4.166664568298827e-002)
_SIN_P0, _SIN_P1, _SIN_P2 = _single(-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)


def _log_float32(u: Float32[np.ndarray, "n 8"]) -> Float64[np.ndarray, "n 8"]:
    """Cephes' logf for 0 < u <= 1, multiplied and added as the compiler fused log256_ps."""
    bits = u.view(np.int32)
    half_to_one = ((bits & 0x007FFFFF) | 0x3F000000).view(np.float32).astype(np.float64)
    small = half_to_one < _SQRT_HALF
    exponent = (bits >> 23) - 126.0 - small
    x = half_to_one * (1.0 + small) - 1.0
    z = _to_float32(x * x)
    y: Any = _LOG_P0
    for coefficient in _LOG_P:
        y = _to_float32(y * x + coefficient)
    y = _to_float32(y * x)
    y = _to_float32(y * z + _to_float32(exponent * _LOG_Q1))
    y = _to_float32(z * -0.5 + y)
    return _to_float32(exponent * _LOG_Q2 + _to_float32(x + y))


def _sin_cos_float32(
    theta: Float64[np.ndarray, "n 8"],
) -> tuple[Float64[np.ndarray, "n 8"], Float64[np.ndarray, "n 8"]]:
    """Cephes' sinf and cosf for 0 <= theta, fused as sincos256_ps."""
    octant = (_to_float32(theta * _FOUR_OVER_PI).astype(np.int32) + 1) & ~1
    x, multiple = theta, octant.astype(np.float64)
    for part in _MINUS_QUARTER_PI:
        x = _to_float32(multiple * part + x)
    z = _to_float32(x * x)
    y = _to_float32(_COS_P0 * z + _COS_P1)
    y = _to_float32(y * z + _COS_P2)
    y = _to_float32(y * z)
    near_one = _to_float32(_to_float32(y * z - z * 0.5) + 1.0)
    y = _to_float32(_SIN_P0 * z + _SIN_P1)
    y = _to_float32(y * z + _SIN_P2)
    y = _to_float32(y * z)
    near_zero = _to_float32(y * x + x)
    swap = (octant & 2) != 0
    sin = np.where(swap, near_one, near_zero)
    cos = np.where(swap, near_zero, near_one)
    np.negative(sin, out=sin, where=(octant & 4) != 0)
    np.negative(cos, out=cos, where=((octant + 2) & 4) != 0)
    return sin, cos


def box_muller_float32(
    u1: Float32[np.ndarray, "n 8"], u2: Float32[np.ndarray, "n 8"]
) -> tuple[Float32[np.ndarray, "n 8"], Float32[np.ndarray, "n 8"]]:
    """Two standard normals from each u1 in (0, 1] and u2 in [0, 1): torch's AVX2 kernel."""
    radius = _to_float32(np.sqrt(-2.0 * _log_float32(np.float32(1) - u1)))
    sin, cos = _sin_cos_float32(_to_float32(u2.astype(np.float64) * _TWO_PI))
    return (radius * cos).astype(np.float32), (radius * sin).astype(np.float32)
