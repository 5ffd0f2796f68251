"""A rung's result: how far two frameworks are apart, and how far they may be."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Gap(NamedTuple):
    """The largest difference between tensors.

    Attributes:
        max_abs: Of any element.
        max_rel: Of any element, relative to its own tensor's largest magnitude.
        where: The tensor with the largest relative difference; a mismatch of shapes is said here.
    """

    max_abs: float
    max_rel: float
    where: str = ""


@dataclass(frozen=True)
class Row:
    """One line of the report.

    Attributes:
        model: The network, or "layers" and "losses" where no network is needed.
        rung: What was compared.
        dtype: In which both sides computed.
        gap: What was measured.
        tolerance: What the relative gap may be.
        note: What a reader should know beside the numbers.
    """

    model: str
    rung: str
    dtype: str
    gap: Gap
    tolerance: float
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the relative gap is within the tolerance; NaN is not."""
        return self.gap.max_rel <= self.tolerance

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; a gap that is no number is null."""
        return {
            "model": self.model,
            "rung": self.rung,
            "dtype": self.dtype,
            "max_abs": _finite(self.gap.max_abs),
            "max_rel": _finite(self.gap.max_rel),
            "tolerance": self.tolerance,
            "passed": self.passed,
        }


Tensors = Mapping[str, Any]


def measure(actual: Tensors, expected: Tensors, scale: Tensors | None = None) -> Gap:
    """The largest difference of named tensors, in float64; shapes and names are compared first.

    What has no counterpart, another shape or a NaN is infinitely far apart. A tensor's difference
    is relative to its largest magnitude, or to that of its scale where that is larger.
    """
    if unpaired := sorted(set(actual) ^ set(expected)):
        return Gap(math.inf, math.inf, f"{unpaired[0]}: on one side only")
    worst = Gap(0.0, 0.0)
    for name, value in expected.items():
        least = 0.0 if scale is None else float(np.abs(_array(scale[name])).max(initial=0))
        gap = _measure_one(name, _array(actual[name]), _array(value), least)
        where = gap.where if gap.max_rel >= worst.max_rel else worst.where
        worst = Gap(max(gap.max_abs, worst.max_abs), max(gap.max_rel, worst.max_rel), where)
    return worst


def _measure_one(name: str, actual: np.ndarray, expected: np.ndarray, least: float) -> Gap:
    if actual.shape != expected.shape:
        return Gap(math.inf, math.inf, f"{name}: shape {actual.shape} against {expected.shape}")
    if not expected.size:
        return Gap(0.0, 0.0, name)
    distance = float(np.abs(actual - expected).max())
    if math.isnan(distance):
        return Gap(math.inf, math.inf, f"{name}: not a number")
    largest = max(float(np.abs(expected).max()), least)
    relative = distance / largest if largest else (math.inf if distance else 0.0)
    return Gap(distance, relative, name)


def _array(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return np.asarray(value, np.float64)


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
