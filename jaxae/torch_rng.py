"""torch's CPU random stream in NumPy: what `torch.manual_seed(seed)` would draw, without torch.

Words, uniforms, integers, permutations and (on x86 with AVX2, where torch's kernel runs) normals are
the very bits that torch draws; see `Generator.normal` for what holds elsewhere.

Sources, as of torch 2.13: ATen/core/MT19937RNGEngine.h (the engine), ATen/CPUGeneratorImpl.cpp (64-bit
words, the layout of a saved state), ATen/core/DistributionsHelper.h and TransformationHelper.h (one
number from one word), ATen/native/cpu/DistributionTemplates.h (whole tensors, normals in blocks of
16), ATen/native/cpu/avx_mathfun.h (Cephes' single-precision log, sin and cos),
ATen/native/TensorFactories.cpp (randperm).

Left out: `bernoulli_(p)` and `exponential_`, which torch hands to MKL's own generator, and 16-bit floats.
"""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int64, Integer, UInt8, UInt32, UInt64
from numpy.typing import DTypeLike

from jaxae.errors import InputError

DEFAULT_SEED = 67280421310721  # c10/core/GeneratorImpl.h: a torch.Generator nobody has seeded

Size = int | Sequence[int]

_STATE = np.dtype(  # CPUGeneratorImplState, with C's padding
    [
        ("seed", "<u8"),
        ("left", "<i4"),
        ("seeded", "<i4"),
        ("next", "<u8"),
        ("words", "<u8", 624),
        ("normal_x", "<f8"),
        ("normal_y", "<f8"),
        ("normal_rho", "<f8"),
        ("normal_is_valid", "<i4"),
        ("padding", "<i4"),
        ("next_float", "<f4"),
        ("next_float_is_valid", "u1"),
        ("tail", "u1", 3),
    ]
)
_WIDE_RANGE = 1 << 28  # from here on an integer takes two words (torch < 2.7: from 1 << 32 on)
_PERMUTATION_LIMIT = (2**32 - 1) // 20  # from here on torch's randperm is another algorithm
_BLOCK = 8192  # pairs of normals at a time: their temporaries stay in the cache


class Generator:
    """torch.Generator on the CPU: the same stream from the same seed.

    Every draw returns a new NumPy array in C order and advances the stream exactly as the torch call of
    that name does, so calls may be mixed freely. Sizes are an int or a sequence of ints; `rand`, `randn`
    also take them one by one. Bad sizes, dtypes and bounds raise InputError before anything is drawn.
    """

    def __init__(self, seed: int = DEFAULT_SEED):
        # RandomState over MT19937, though NumPy calls it legacy, because its stream is frozen by policy.
        self._engine = np.random.MT19937(0)
        self._stream = np.random.RandomState(self._engine)  # noqa: NPY002
        self.manual_seed(seed)

    def manual_seed(self, seed: int) -> "Generator":
        """Restart the stream. Seeds are -2**63 ... 2**64 - 1; the stream depends on the low 32 bits."""
        seed = _integer(seed, "seed")
        if not -(2**63) <= seed < 2**64:
            raise InputError(f"expected a seed from -2**63 to 2**64 - 1, got {seed}")
        self._seed = seed % 2**64
        self._stream.seed(seed % 2**32)
        self._untouched = True
        self._next_normal: float | None = None
        self._next_float = np.float32(0)
        self._next_float_is_valid = False
        return self

    def initial_seed(self) -> int:
        """The seed as torch reports it: negative ones plus 2**64."""
        return self._seed

    def clone(self) -> "Generator":
        """A second generator at the same place of the same stream."""
        return Generator().set_state(self.get_state())

    def get_state(self) -> UInt8[np.ndarray, " 5056"]:
        """The whole state, byte for byte what torch.Generator.get_state() holds at this place."""
        words, position = self._position()
        state = np.zeros((), _STATE)
        state["seed"], state["seeded"], state["words"] = self._seed, 1, words
        # NumPy starts at the end of a block not yet made, torch at its beginning.
        state["left"], state["next"] = (1, 0) if self._untouched else (625 - position, position)
        if self._next_normal is not None:
            state["normal_is_valid"], state["normal_y"] = 1, self._next_normal
        state["next_float"] = self._next_float
        state["next_float_is_valid"] = self._next_float_is_valid
        return np.frombuffer(state.tobytes(), np.uint8).copy()

    def set_state(self, state: UInt8[np.ndarray, " 5056"]) -> "Generator":
        """Continue from a state that `get_state`, or torch's, returned (as a uint8 array).

        InputError for another length or dtype and for states no generator can be in.
        """
        data = np.asarray(state)
        if data.dtype != np.uint8 or data.shape != (_STATE.itemsize,):
            raise InputError(
                f"expected a generator state of {_STATE.itemsize} bytes (uint8), "
                f"got {data.dtype} of shape {data.shape}"
            )
        fields = np.frombuffer(data.tobytes(), _STATE)[0]
        left, position = int(fields["left"]), int(fields["next"])
        untouched = (left, position) == (1, 0)
        placed = 1 <= position <= 624 and left == 625 - position
        if not fields["seeded"] or not (untouched or placed) or fields["words"].max() >= 2**32:
            raise InputError(
                "expected a state of a seeded mt19937 with left + next = 625 and 32-bit words, "
                f"got seeded {int(fields['seeded'])}, left {left}, next {position}, "
                f"largest word {int(fields['words'].max())}"
            )
        words = fields["words"].astype(np.uint32)
        self._stream.set_state(("MT19937", words, 624 if untouched else position))
        self._seed, self._untouched = int(fields["seed"]), untouched
        self._next_normal = float(fields["normal_y"]) if fields["normal_is_valid"] else None
        self._next_float = fields["next_float"]
        self._next_float_is_valid = bool(fields["next_float_is_valid"])
        return self

    def skip(self, words: int) -> "Generator":
        """Go on by so many 32-bit words without keeping them (3 ns a word)."""
        words = _integer(words, "words to skip")
        if words < 0:
            raise InputError(f"expected a number of words to skip that is >= 0, got {words}")
        if words:
            self._engine.random_raw(words, output=False)
            self._untouched = False
        return self

    def words(self, count: int) -> UInt32[np.ndarray, " count"]:
        """The next 32-bit words of the stream, from which everything else is made."""
        (count,) = _shape(count)
        if count:
            self._untouched = False
        return self._stream.randint(0, 2**32, count, dtype=np.uint32)

    def rand(self, *size: Any, dtype: DTypeLike = np.float32) -> Float[np.ndarray, "..."]:
        """torch.rand: uniform on [0, 1), multiples of 2**-24 (float32) or 2**-53 (float64)."""
        shape = _shape(size[0] if len(size) == 1 else size)
        return self._unit(math.prod(shape), _float_dtype(dtype)).reshape(shape)

    def uniform(
        self, size: Size, low: float = 0.0, high: float = 1.0, dtype: DTypeLike = np.float32
    ) -> Float[np.ndarray, "..."]:
        """tensor.uniform_(low, high): on [low, high); a value that rounds to high becomes low."""
        shape, kind = _shape(size), _float_dtype(dtype)
        low, high = _real(low, "low"), _real(high, "high")
        largest = float(np.finfo(kind).max)
        if not (-largest <= low <= high <= largest and high - low <= largest):
            raise InputError(
                f"expected low <= high, both and their distance within {kind}, got {low} and {high}"
            )
        start, stop = kind.type(low), kind.type(high)
        unit = self._unit(math.prod(shape), kind)
        with np.errstate(
            over="ignore"
        ):  # two roundings up may exceed the largest float32, as in torch
            value = _multiply_add(unit, stop - start, start)
        return np.where(value == stop, start, value).reshape(shape)

    def randn(self, *size: Any, dtype: DTypeLike = np.float32) -> Float[np.ndarray, "..."]:
        """torch.randn: standard normals; float64 ones are other draws than float32 ones."""
        return self.normal(size[0] if len(size) == 1 else size, dtype=dtype)

    def normal(
        self,
        size: Size,
        mean: float = 0.0,
        std: float = 1.0,
        dtype: DTypeLike = np.float32,
        *,
        contiguous: bool = True,
    ) -> Float[np.ndarray, "..."]:
        """tensor.normal_(mean, std), by Box and Muller's transform.

        Of 16 elements and more, blocks of 16 uniforms become 16 normals, and a tail redraws the last 16
        elements. Fewer are drawn in double precision one pair at a time, the second kept in the
        generator for the next such call. So are all sizes of a tensor that is not contiguous
        (`contiguous=False`; torch fills a transposed one in the order of its memory).

        float32 repeats torch's AVX2 kernel operation by operation: no difference in 10**8 normals.
        Where torch runs another kernel (ARM; ATEN_CPU_CAPABILITY=default), its values differ in the last
        bits. float64 and small sizes use the C library's functions, as torch does.
        """
        shape, kind = _shape(size), _float_dtype(dtype)
        mean, std = _real(mean, "mean"), _real(std, "std")
        if not std >= 0:
            raise InputError(f"expected std >= 0, got {std}")
        count = math.prod(shape)
        if count >= 16 and contiguous:
            return self._normal_blocks(count, mean, std, kind).reshape(shape)
        with np.errstate(over="ignore"):  # beyond float32 is infinity, as a cast in C gives
            return self._normal_pairs(count, mean, std).astype(kind).reshape(shape)

    def random_(
        self, size: Size, *bounds: int | None, dtype: DTypeLike = np.int64
    ) -> Integer[np.ndarray, "..."]:
        """tensor.random_() on an integer tensor, or with bounds (to) or (from, to).

        Without bounds, uniform on 0 ... the dtype's largest; with them on [from, to), where a `to` of
        None means up to and including the dtype's largest. int64 without bounds, and ranges of 2**28
        and more, take two words each; all else one.
        """
        shape, kind = _shape(size), _integer_dtype(dtype)
        least, largest = int(np.iinfo(kind).min), int(np.iinfo(kind).max)
        count = math.prod(shape)
        if not bounds:
            wide = kind == np.int64
            return (self._draw(count, wide) & np.uint64(largest)).astype(kind).reshape(shape)
        if len(bounds) > 2 or bounds[0] is None:
            raise InputError(f"expected no bounds, (to) or (from, to), got {bounds}")
        start = 0 if len(bounds) == 1 else _integer(bounds[0], "from")
        stop = largest + 1 if bounds[-1] is None else _integer(bounds[-1], "to")
        # An explicit `to` is an int64 in torch: 2**63 can be had only as None.
        if bounds[-1] is not None and stop > 2**63 - 1:
            raise InputError(f"expected to < 2**63 (or None for the largest {kind}), got {stop}")
        if not least <= start < stop <= largest + 1:
            raise InputError(f"expected {least} <= from < to <= {largest + 1}, got {start}, {stop}")
        reach = stop - start
        value = self._draw(count, reach >= _WIDE_RANGE)
        if reach < 2**64:
            value %= np.uint64(reach)
        value += np.uint64(start % 2**64)  # in two's complement, wrapping
        return value.view(np.int64).astype(kind).reshape(shape)

    def randint(
        self, low: int, high: int | Size, size: Size | None = None, dtype: DTypeLike = np.int64
    ) -> Integer[np.ndarray, "..."]:
        """torch.randint(high, size) or torch.randint(low, high, size): uniform on [low, high)."""
        if size is None:
            low, high, size = 0, low, high
        return self.random_(size, low, _integer(high, "high"), dtype=dtype)

    def randperm(self, n: int) -> Int64[np.ndarray, " n"]:
        """torch.randperm(n): a permutation of 0 ... n - 1, from n - 1 words; n < 2**32 / 20."""
        n = _integer(n, "n")
        if not 0 <= n < _PERMUTATION_LIMIT:
            raise InputError(f"expected 0 <= n < {_PERMUTATION_LIMIT}, got {n}")
        place = np.arange(max(n - 1, 0))
        partner = place + self.words(place.size) % (n - place)
        # Each swap needs the one before: a loop, and over a list, whose elements cost least in Python.
        order = list(range(n))
        for i, j in enumerate(partner.tolist()):
            order[i], order[j] = order[j], order[i]
        return np.array(order, np.int64)

    def _position(self) -> tuple[UInt32[np.ndarray, " 624"], int]:
        state = self._engine.state["state"]
        return state["key"], int(state["pos"])

    def _draw(self, count: int, wide: bool) -> UInt64[np.ndarray, " count"]:
        """One word each, or two with the first one on top."""
        if not wide:
            return self.words(count).astype(np.uint64)
        pairs = self.words(2 * count).reshape(count, 2).astype(np.uint64)
        return (pairs[:, 0] << np.uint64(32)) | pairs[:, 1]

    def _unit(self, count: int, kind: np.dtype) -> Float[np.ndarray, " count"]:
        if kind == np.float32:
            mantissa = (self.words(count) & np.uint32(2**24 - 1)).view(np.int32)
            return mantissa.astype(np.float32) * np.float32(2**-24)
        mantissa = (self._draw(count, True) & np.uint64(2**53 - 1)).view(np.int64)
        return mantissa.astype(np.float64) * 2**-53

    def _normal_blocks(
        self, count: int, mean: float, std: float, kind: np.dtype
    ) -> Float[np.ndarray, " count"]:
        unit = self._unit(count, kind)
        rest = count % 16
        if rest:
            tail = self._unit(16, kind)
            whole = np.concatenate([unit[: count - rest], tail])
        else:
            whole = unit
        blocks = whole.reshape(-1, 2, 8)
        box_muller = _box_muller_float32 if kind == np.float32 else _box_muller_float64
        value = np.empty_like(blocks)
        with np.errstate(over="ignore"):
            mean_, std_ = kind.type(mean), kind.type(std)
            for start in range(0, len(blocks), _BLOCK // 8):
                part = slice(start, start + _BLOCK // 8)
                pair = box_muller(blocks[part, 0], blocks[part, 1])
                for half in (0, 1):
                    value[part, half] = _multiply_add(pair[half], std_, mean_)
        flat = value.reshape(-1)
        # The tail's block overlays the end of the last whole one.
        return np.concatenate([flat[: count - 16], flat[-16:]]) if rest else flat

    def _normal_pairs(self, count: int, mean: float, std: float) -> Float64[np.ndarray, " count"]:
        kept = [] if self._next_normal is None or not count else [self._next_normal]
        if count:
            self._next_normal = None
        pairs = (count - len(kept) + 1) // 2
        unit = self._unit(2 * pairs, np.dtype(np.float64)).reshape(pairs, 2)
        radius = np.sqrt(-2 * _by_libm(math.log1p, -unit[:, 1]))
        theta = 2 * math.pi * unit[:, 0]
        drawn = np.stack(
            [radius * _by_libm(math.cos, theta), radius * _by_libm(math.sin, theta)], axis=1
        ).reshape(-1)
        value = np.concatenate([np.array(kept, np.float64), drawn])
        if len(value) > count:
            self._next_normal = float(value[count])
        return _multiply_add(value[:count], np.float64(std), np.float64(mean))


def _integer(value: object, name: str) -> int:
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        return operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise InputError(f"expected an integer as {name}, got {value!r}") from None


def _real(value: object, name: str) -> float:
    try:
        return float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"expected a real number as {name}, got {value!r}") from None


def _shape(size: object) -> tuple[int, ...]:
    sizes = size if isinstance(size, Sequence) and not isinstance(size, str) else (size,)
    shape = tuple(_integer(length, "size") for length in sizes)
    if any(length < 0 for length in shape):
        raise InputError(f"expected sizes >= 0, got {shape}")
    return shape


def _dtype(dtype: DTypeLike, allowed: str) -> np.dtype:
    try:
        kind = np.dtype(dtype)
    except TypeError:
        raise InputError(f"expected one of {allowed} as dtype, got {dtype!r}") from None
    if kind.name not in allowed.split(", "):
        raise InputError(f"expected one of {allowed} as dtype, got {kind.name}")
    return kind


def _float_dtype(dtype: DTypeLike) -> np.dtype:
    return _dtype(dtype, "float32, float64")


def _integer_dtype(dtype: DTypeLike) -> np.dtype:
    return _dtype(dtype, "int64, int32, int16, int8, uint8")


def _by_libm(
    function: Callable[[float], float], x: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    # NumPy's own vectorised functions differ from the C library's in 0.2 % of last bits.
    return np.fromiter(map(function, x.reshape(-1).tolist()), np.float64, x.size).reshape(x.shape)


def _box_muller_float64(
    u1: Float64[np.ndarray, "n 8"], u2: Float64[np.ndarray, "n 8"]
) -> tuple[Float64[np.ndarray, "n 8"], Float64[np.ndarray, "n 8"]]:
    radius = np.sqrt(-2 * _by_libm(math.log, 1 - u1))
    theta = 2 * math.pi * u2
    return radius * _by_libm(math.cos, theta), radius * _by_libm(math.sin, theta)


def _to_float32(x: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    """Rounded to float32, kept as float64.

    One such rounding after `a * b + c` on float32 values is a fused multiply-add, for a product of two
    is exact in float64. After a single sum, product or root, it is that operation in float32.
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
_COS_P0, _COS_P1, _COS_P2 = _single(
    2.443315711809948e-005, -1.388731625493765e-003, 4.166664568298827e-002
)
_SIN_P0, _SIN_P1, _SIN_P2 = _single(-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)


def _log_float32(u: Float[np.ndarray, "n 8"]) -> Float64[np.ndarray, "n 8"]:
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


def _box_muller_float32(
    u1: Float[np.ndarray, "n 8"], u2: Float[np.ndarray, "n 8"]
) -> tuple[Float[np.ndarray, "n 8"], Float[np.ndarray, "n 8"]]:
    radius = _to_float32(np.sqrt(-2.0 * _log_float32(np.float32(1) - u1)))
    sin, cos = _sin_cos_float32(_to_float32(u2.astype(np.float64) * _TWO_PI))
    return (radius * cos).astype(np.float32), (radius * sin).astype(np.float32)


def _multiply_add(
    x: Float[np.ndarray, "..."], factor: np.floating, offset: np.floating
) -> Float[np.ndarray, "..."]:
    """x * factor + offset rounded once, in x's dtype: torch's kernels are compiled with FMA."""
    if factor == 1 and offset == 0:
        return x + offset  # the sum turns -0 into 0
    if x.dtype == np.float32:
        return _multiply_add_float32(x, float(factor), float(offset))
    return _multiply_add_float64(x, float(factor), float(offset))


def _two_sum(
    a: Float64[np.ndarray, "..."], b: Any
) -> tuple[Float64[np.ndarray, "..."], Float64[np.ndarray, "..."]]:
    """Knuth's: the rounded sum and, exactly, what rounding took from it."""
    total = a + b
    other = total - a
    return total, (a - (total - other)) + (b - other)


def _round_to_odd(
    total: Float64[np.ndarray, "..."], error: Float64[np.ndarray, "..."]
) -> Float64[np.ndarray, "..."]:
    """Of the two neighbours of an inexact sum the one whose last bit is 1: a later, shorter
    rounding then comes out as if it had seen the exact sum (Boldo and Melquiond 2008).
    """
    even = (total.view(np.int64) & 1) == 0
    nudged = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    return np.where((error != 0) & even, nudged, total)


def _multiply_add_float32(
    x: Float[np.ndarray, "..."], factor: float, offset: float
) -> Float[np.ndarray, "..."]:
    product = x.astype(np.float64) * factor  # exact: 24 bits times 24
    total = product + offset
    if not np.isfinite(factor) or not np.isfinite(offset):
        return total.astype(np.float32)
    return _round_to_odd(*_two_sum(product, offset)).astype(np.float32)


def _multiply_add_float64(
    x: Float64[np.ndarray, "..."], factor: float, offset: float
) -> Float64[np.ndarray, "..."]:
    if not np.isfinite(factor) or not np.isfinite(offset):
        return x * factor + offset
    # Splitting multiplies by 2**27: keep the larger of the two near 1.
    scale = math.frexp(max(abs(factor), abs(offset)))[1]
    factor, offset = math.ldexp(factor, -scale), math.ldexp(offset, -scale)
    high, low = _split(x)
    factor_high, factor_low = _split(np.float64(factor))
    product = x * factor
    rest = (
        (high * factor_high - product) + high * factor_low + low * factor_high
    ) + low * factor_low
    # The exact value is product + rest + offset: Boldo and Melquiond's emulated FMA.
    upper, lower = _two_sum(rest, offset)
    total, error = _two_sum(upper, product)
    small, smaller = _two_sum(error, lower)
    return np.ldexp(total + _round_to_odd(small, smaller), scale)


def _split(x: Any) -> tuple[Any, Any]:
    """Veltkamp's: two halves of at most 26 bits each, whose products are exact."""
    shifted = x * 134217729.0
    high = shifted - (shifted - x)
    return high, x - high
