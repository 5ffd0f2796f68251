"""A gap: how far tensors of two frameworks are apart."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import torch


class Gap(NamedTuple):
    """The largest difference between tensors.

    Attributes:
        max_abs: Largest difference of any element.
        max_rel: Largest difference of any element relative to its tensor's largest magnitude.
        where: Name of the tensor with the largest relative difference; a mismatch of shapes is said here.
    """

    max_abs: float
    max_rel: float
    where: str = ""


Tensors = Mapping[str, "ArrayLike | torch.Tensor"]


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
        largest = max(gap, worst, key=lambda one: one.max_rel)
        worst = largest._replace(max_abs=max(gap.max_abs, worst.max_abs))
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


def _array(value: "ArrayLike | torch.Tensor") -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()  # type: ignore[union-attr]
    return np.asarray(value, np.float64)
