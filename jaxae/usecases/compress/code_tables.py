"""Integer tables of quantised codes, and the entropy coder that runs on them.

A code's dimensions are cut into fine bins, and the training codes counted in each. The table of any step, an odd
number of fine bins, is a sum of those counts, scaled by integer arithmetic to add up to 2**24: no float takes part in
what an encoder and a decoder must agree on, so a stream decodes on any machine.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float, Int

from jaxae.bounds import Range, check
from jaxae.errors import InputError, brief
from jaxae.storage.extra import extra

FINEST_STEP = 0.25
"""A fine bin's width in grey levels of 255: by how much (root mean square over the pixels) one bin
of one dimension moves the decoded image."""

_TOTAL = 1 << 24
_LARGEST_BINS = 1 << 16
# Sums of counts times bins stay within 64 bits.
_LARGEST_NUMBER = 1 << 31
LARGEST_STEP = 1 << 14
"""The largest step, in fine bins."""
GreyLevels = Annotated[float, Range(1e-9, FINEST_STEP * LARGEST_STEP)]

_KINDS = {"width": "<f4", "lowest": "<i8", "counts": "<i8"}


class DamagedPayloadError(Exception):
    """A payload that these tables do not decode to so many symbols."""


@dataclass(frozen=True, eq=False)
class CodeTables:
    """How each dimension of a code is quantised, and how often each fine bin occurs.

    Attributes:
        width: Width of a fine bin of each dimension, in units of the code.
        lowest: Number of each dimension's first bin; bin k is centred on k width.
        counts: Training codes in each bin; zero beyond a dimension's last.
    """

    width: Float[np.ndarray, " code"]
    lowest: Int[np.ndarray, " code"]
    counts: Int[np.ndarray, "code bins"]
    _known: dict[int, list[tuple[np.ndarray, np.ndarray]]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        width, lowest, counts = self.width, self.lowest, self.counts
        sound = (
            width.shape == lowest.shape == counts.shape[:1]
            and counts.ndim == 2
            and counts.shape[1] <= _LARGEST_BINS
            and bool(np.isfinite(width).all() and (width > 0).all())
            and bool((np.abs(lowest.astype(np.float64)) < _LARGEST_NUMBER).all())
            and bool((counts >= 0).all() and (counts < _LARGEST_NUMBER).all())
            and bool((counts.sum(1) > 0).all() and (counts.sum(1) < _LARGEST_NUMBER).all())
        )
        if not sound:
            raise InputError("expected tables of a code whose every dimension was counted, got others")

    @classmethod
    def of(cls, codes: Float[np.ndarray, "n code"], sensitivity: Float[np.ndarray, " code"]) -> "CodeTables":
        """Count training codes in bins that all change the decoded image by as much.

        Args:
            codes: Codes of training images.
            sensitivity: Change of the decoded image with each dimension: root mean square over pixels in [0, 1] per
                unit of the code.

        Raises:
            InputError: If a code is not finite, or beyond all measure.
        """
        if not (np.isfinite(codes).all() and np.isfinite(sensitivity).all()):
            raise InputError("expected a model whose codes are finite, got NaN or infinity")
        # A dimension that hardly changes the decoded image gets bins so wide that it costs nothing.
        felt = np.maximum(sensitivity, max(1e-3 * sensitivity.max(), 1e-9))
        width = (FINEST_STEP / 255 / felt).astype(np.float32)
        spread = np.ptp(codes, axis=0) / width
        # Far outliers of an odd model must not make the tables huge.
        width *= np.maximum(spread / (_LARGEST_BINS // 2), 1).astype(np.float32)
        bins = np.rint(codes / width[None]).astype(np.int64)
        lowest = bins.min(0)
        counts = np.zeros((codes.shape[1], int((bins.max(0) - lowest).max()) + 1), np.int64)
        for row, column, first in zip(counts, bins.T, lowest, strict=True):
            row += np.bincount(column - first, minlength=len(row))
        return cls(width, lowest, counts)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The arrays to keep beside a model."""
        return {name: getattr(self, name).astype(kind) for name, kind in _KINDS.items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], num_codes: int) -> "CodeTables":
        """The tables that `to_arrays` gave.

        Raises:
            InputError: If they are not tables of a code of so many dimensions.
        """
        if {name: array.dtype for name, array in arrays.items()} != _KINDS:
            raise InputError(f"expected the arrays {', '.join(_KINDS)}, got {brief(', '.join(arrays), 200)}")
        width, lowest, counts = (arrays[name] for name in _KINDS)
        if width.shape != (num_codes,):
            raise InputError(f"expected tables of a {num_codes}-dimensional code, got others")
        return cls(width, lowest, counts)

    def quantise(self, codes: Float[np.ndarray, "n code"], step: int) -> Int[np.ndarray, "n code"]:
        """Symbols, counted from 0 in each dimension; codes beyond the training's are clipped."""
        bins = np.rint(np.clip(codes / self.width[None], -1e9, 1e9)).astype(np.int64)
        bins = np.clip(bins, self.lowest[None], (self.lowest + self._num_bins - 1)[None])
        return (bins + step // 2) // step - self._first_symbol(step)[None]

    def dequantise(self, symbols: Int[np.ndarray, "n code"], step: int) -> Float[np.ndarray, "n code"]:
        """Codes of symbols: the mean of the training codes that share the symbol."""
        columns = zip(self._steps(step), symbols.T, strict=True)
        bins = np.stack([means[column] for (_, means), column in columns], axis=1)
        return (bins * self.width[None]).astype(np.float32)

    def encode(self, symbols: Int[np.ndarray, "n code"], step: int) -> bytes:
        """Entropy-code symbols, dimension by dimension, each by its own table."""
        coder = _coder()
        for (table, _), column in reversed(list(zip(self._steps(step), symbols.T, strict=True))):
            if len(table) > 1:
                coder.encode_reverse(column.astype(np.int32), _categorical(table))
        # The last word is not zero; its leading zeros need not be kept.
        return coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")

    def decode(self, payload: bytes, count: int, step: int) -> Int[np.ndarray, "n code"]:
        """The symbols of so many codes.

        Raises:
            DamagedPayloadError: If the payload ends early or late.
        """
        words = np.frombuffer(payload + bytes(-len(payload) % 4), "<u4").astype(np.uint32)
        try:
            coder = _coder(words)
        except ValueError as error:
            raise DamagedPayloadError(str(error)) from error
        columns = [
            coder.decode(_categorical(table), count) if len(table) > 1 else np.zeros(count, int)
            for table, _ in self._steps(step)
        ]
        if not coder.is_empty():
            raise DamagedPayloadError("data is left when all codes are decoded")
        return np.stack(columns, axis=1)

    def table(self, dimension: int, step: int) -> Int[np.ndarray, " symbols"]:
        """How often each symbol of a dimension is taken to occur, of 2**24; at least once."""
        return self._steps(step)[dimension][0]

    @cached_property
    def _num_bins(self) -> Int[np.ndarray, " code"]:
        return self.counts.shape[1] - np.argmax(self.counts[:, ::-1] > 0, axis=1)

    def _first_symbol(self, step: int) -> Int[np.ndarray, " code"]:
        return (self.lowest + step // 2) // step

    def _steps(self, step: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Table and reconstruction points, in fine bins, of each dimension."""
        if step not in self._known:
            columns = zip(self.lowest, self._num_bins, self.counts, self._first_symbol(step), strict=True)
            self._known[step] = [
                _coarsen(int(lowest) + np.arange(bins), counts[:bins], step, int(first))
                for lowest, bins, counts, first in columns
            ]
        return self._known[step]


def bins_of(step: float) -> int:
    """The odd number of fine bins nearest to a step in grey levels.

    Raises:
        InputError: If the step is not above 0, or is beyond what tables are made for.
    """
    check("a step in grey levels", step, GreyLevels)
    return 2 * round((step / FINEST_STEP - 1) / 2) + 1


def _coarsen(bins: np.ndarray, counts: np.ndarray, step: int, first: int) -> tuple[np.ndarray, np.ndarray]:
    symbols = (bins + step // 2) // step - first
    size = int(symbols[-1]) + 1
    seen, moments = np.zeros((2, size), np.int64)
    np.add.at(seen, symbols, counts)
    np.add.at(moments, symbols, counts * bins)
    centres = (np.arange(size) + first) * step
    means = np.where(seen > 0, moments / np.maximum(seen, 1), centres)
    # An eighth of a code in each symbol, so that one never seen in training costs 20 bits, not 24.
    weights = 8 * seen + 1
    free = _TOTAL - size
    table = 1 + weights * free // weights.sum()
    table[np.argmax(table)] += _TOTAL - table.sum()
    return table, means


def _coder(*words: np.ndarray) -> Any:
    return extra("constriction", "constriction").stream.stack.AnsCoder(*words)


def _categorical(table: np.ndarray) -> Any:
    # constriction gives each symbol 1 / 2**24 and shares out the rest in proportion to floats. These are whole
    # numbers that sum to just that rest, so its arithmetic on them is exact.
    return extra("constriction", "constriction").stream.model.Categorical((table - 1).astype(np.float64), perfect=False)
