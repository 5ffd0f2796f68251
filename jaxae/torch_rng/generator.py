"""torch's CPU random stream in NumPy: what `torch.manual_seed(seed)` would draw, without torch.

Words, uniforms, integers and permutations are the very bits that torch draws. So are normals where torch runs its
AVX2 kernel, as on any recent x86 processor; `Generator.normal` says what holds elsewhere.

Sources, as of torch 2.13, under aten/src/ATen: core/MT19937RNGEngine.h (the engine), CPUGeneratorImpl.cpp (64-bit
words, the layout of a saved state), core/DistributionsHelper.h and core/TransformationHelper.h (one number from one
word), native/cpu/DistributionTemplates.h (tensors, normals in blocks of 16), native/TensorFactories.cpp (randperm).

Left out: `bernoulli_(p)` and `exponential_`, which torch leaves to MKL's own generator, and 16-bit floats.
"""

import math
import operator
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64, Int64, Integer, UInt8, UInt32, UInt64
from numpy.typing import DTypeLike

from jaxae.errors import InputError
from jaxae.torch_rng.box_muller import box_muller_float32, box_muller_float64, by_libm
from jaxae.torch_rng.multiply_add import multiply_add

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

    Every draw returns a new NumPy array in C order and advances the stream exactly as the torch call of that name
    does, so calls may be mixed freely. Sizes are an int or a sequence of ints; `rand` and `randn` also take them one
    by one. Bad sizes, dtypes and bounds raise InputError before anything is drawn.
    """

    def __init__(self, seed: int = DEFAULT_SEED):
        # RandomState, though NumPy calls it legacy: its stream is frozen by policy.
        self._engine = np.random.MT19937(0)
        self._stream = np.random.RandomState(self._engine)
        self.manual_seed(seed)

    def manual_seed(self, seed: int) -> "Generator":
        """Restart the stream; seeds from -2**63 to 2**64 - 1, of which the low 32 bits decide."""
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
                f"expected a generator state of {_STATE.itemsize} bytes (uint8), got {data.dtype} of shape {data.shape}"
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
        self._stream.set_state(("MT19937", words, 624 if untouched else position, 0, 0.0))
        self._seed, self._untouched = int(fields["seed"]), untouched
        self._next_normal = float(fields["normal_y"]) if fields["normal_is_valid"] else None
        self._next_float = fields["next_float"]
        self._next_float_is_valid = bool(fields["next_float_is_valid"])
        return self

    def words(self, count: int) -> UInt32[np.ndarray, " count"]:
        """The next 32-bit words of the stream, from which everything else is made."""
        (count,) = _shape(count)
        if count:
            self._untouched = False
        return self._stream.randint(0, 2**32, count, dtype=np.uint32)

    def uniform(
        self, size: Size, low: float = 0.0, high: float = 1.0, dtype: DTypeLike = np.float32
    ) -> Float[np.ndarray, "..."]:
        """tensor.uniform_(low, high): on [low, high); a value that rounds to high becomes low."""
        shape, kind = _shape(size), _float_dtype(dtype)
        low, high = _real(low, "low"), _real(high, "high")
        largest = float(np.finfo(kind).max)
        if not (-largest <= low <= high <= largest and high - low <= largest):
            raise InputError(f"expected low <= high, both and their distance within {kind}, got {low} and {high}")
        start, stop = kind.type(low), kind.type(high)
        unit = self._unit(math.prod(shape), kind)
        with np.errstate(over="ignore"):  # as in torch, both bounds may round outwards
            value = multiply_add(unit, float(stop - start), float(start))
        return np.where(value == stop, start, value).reshape(shape)

    def randn(self, *size: Size, dtype: DTypeLike = np.float32) -> Float[np.ndarray, "..."]:
        """torch.randn: standard normals; float64 ones are other draws than float32 ones."""
        return self.normal([number for part in size for number in _shape(part)], dtype=dtype)

    def normal(
        self, size: Size, mean: float = 0.0, std: float = 1.0, dtype: DTypeLike = np.float32, *, contiguous: bool = True
    ) -> Float[np.ndarray, "..."]:
        """tensor.normal_(mean, std), by Box and Muller's transform.

        Of 16 elements and more, blocks of 16 uniforms become 16 normals, and a tail that is no whole block redraws
        the last 16 elements. Fewer are drawn in double precision a pair at a time, the second kept in the generator
        for the next such call. So are tensors of any size that are not contiguous: `contiguous=False` (torch fills a
        transposed one in the order of its memory).

        float32 repeats torch's AVX2 kernel: no bit differs in 10**8 normals (seeds 0 to 24). Where torch runs another
        (no AVX2, ATEN_CPU_CAPABILITY=default), normals differ by up to 3e-6 and uniforms between bounds other than 0
        and 1 in the last bit. float64 and pairs call the C library's log, cos and sin as torch does: no bit differs
        in 10**7.
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

    def random_(self, size: Size, *bounds: int | None, dtype: DTypeLike = np.int64) -> Integer[np.ndarray, "..."]:
        """tensor.random_() on an integer tensor, or with bounds (to) or (from, to).

        Without bounds, uniform from 0 to the dtype's largest; with them on [from, to), where a `to` of None means up
        to and including the dtype's largest. int64 without bounds, and ranges of 2**28 and more, take two words each;
        all else one.
        """
        shape, kind = _shape(size), _integer_dtype(dtype)
        least, largest = int(np.iinfo(kind).min), int(np.iinfo(kind).max)
        count = math.prod(shape)
        if len(bounds) == 0:
            wide = kind == np.int64
            return (self._draw(count, wide) & np.uint64(largest)).astype(kind).reshape(shape)
        start, stop = _span(bounds, largest)
        if not least <= start < stop <= largest + 1:
            raise InputError(f"expected {least} <= from < to <= {largest + 1}, got {start}, {stop}")
        reach = stop - start
        value = self._draw(count, reach >= _WIDE_RANGE)
        if reach < 2**64:  # all of int64 is two words as they are
            value = value % np.uint64(reach) + np.uint64(start % 2**64)  # in two's complement
        return value.view(np.int64).astype(kind).reshape(shape)

    def randperm(self, n: int) -> Int64[np.ndarray, " n"]:
        """torch.randperm(n): a permutation of 0 ... n - 1, from n - 1 words; n < 2**32 / 20."""
        n = _integer(n, "n")
        if not 0 <= n < _PERMUTATION_LIMIT:
            raise InputError(f"expected 0 <= n < {_PERMUTATION_LIMIT}, got {n}")
        place = np.arange(max(n - 1, 0))
        partner = place + self.words(place.size) % (n - place)
        # Each swap builds on the one before: a loop, over a list because arrays cost more per item.
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

    def _normal_blocks(self, count: int, mean: float, std: float, kind: np.dtype) -> Float[np.ndarray, " count"]:
        unit = self._unit(count, kind)
        rest = count % 16
        if rest:
            tail = self._unit(16, kind)
            whole = np.concatenate([unit[: count - rest], tail])
        else:
            whole = unit
        blocks = whole.reshape(-1, 2, 8)
        box_muller = box_muller_float32 if kind == np.float32 else box_muller_float64
        value = np.empty_like(blocks)
        with np.errstate(over="ignore"):
            offset, factor = float(kind.type(mean)), float(kind.type(std))
            for start in range(0, len(blocks), _BLOCK // 8):
                part = slice(start, start + _BLOCK // 8)
                pair = box_muller(blocks[part, 0], blocks[part, 1])
                for half in (0, 1):
                    value[part, half] = multiply_add(pair[half], factor, offset)
        flat = value.reshape(-1)
        # The tail's block overlays the end of the last whole one.
        return np.concatenate([flat[: count - 16], flat[-16:]]) if rest else flat

    def _normal_pairs(self, count: int, mean: float, std: float) -> Float64[np.ndarray, " count"]:
        kept = [] if self._next_normal is None or not count else [self._next_normal]
        if count:
            self._next_normal = None
        pairs = (count - len(kept) + 1) // 2
        unit = self._unit(2 * pairs, np.dtype(np.float64)).reshape(pairs, 2)
        radius = np.sqrt(-2 * by_libm(math.log1p, -unit[:, 1]))
        theta = 2 * math.pi * unit[:, 0]
        drawn = np.stack([radius * by_libm(math.cos, theta), radius * by_libm(math.sin, theta)], axis=1).reshape(-1)
        value = np.concatenate([np.array(kept, np.float64), drawn])
        if len(value) > count:
            self._next_normal = float(value[count])
        return multiply_add(value[:count], std, mean)


def _span(bounds: Sequence[int | None], largest: int) -> tuple[int, int]:
    start, stop = (0, *bounds) if len(bounds) == 1 else bounds if len(bounds) == 2 else (None, None)
    if start is None:
        raise InputError(f"expected no bounds, (to) or (from, to), got {tuple(bounds)}")
    start = _integer(start, "from")
    if stop is None:
        return start, largest + 1
    stop = _integer(stop, "to")
    if stop >= 2**63:  # an explicit `to` is an int64 in torch
        raise InputError(f"expected to < 2**63, or None for the dtype's largest, got {stop}")
    return start, stop


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
