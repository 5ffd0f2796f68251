"""A rung's result: how far two frameworks are apart, and how far they may be."""

import math
from dataclasses import dataclass

from jaxae.parity.gap import Gap, Tensors, measure
from jaxae.parity.tolerance import FACTOR, Bound

CONSTANT = "constant"


@dataclass(frozen=True)
class RungResult:
    """One line of the ladder's report.

    Attributes:
        model: Name of the network, or "layers" and "losses" where no network is needed.
        rung: Name of what was compared.
        dtype: Dtype in which both sides computed.
        gap: Measured gap.
        tolerance: Largest relative gap that passes.
        note: Note for a reader beside the numbers.
        origin: Where the tolerance comes from: a constant, or torch's own error of the same run.
    """

    model: str
    rung: str
    dtype: str
    gap: Gap
    tolerance: float
    note: str = ""
    origin: str = CONSTANT

    @property
    def passed(self) -> bool:
        """Whether the relative gap is within the tolerance; NaN is not."""
        return self.gap.max_rel <= self.tolerance

    def to_json(self) -> dict[str, str | float | bool | None]:
        """As plain JSON values; a gap that is no number is null."""
        names = {"model": self.model, "rung": self.rung, "dtype": self.dtype}
        sizes = {"max_abs": self.gap.max_abs, "max_rel": self.gap.max_rel}
        finite = {name: size if math.isfinite(size) else None for name, size in sizes.items()}
        return {**names, **finite, "tolerance": self.tolerance, "origin": self.origin, "passed": self.passed}


def allowed(own: float, floor: float) -> tuple[float, str]:
    """The tolerance of a float32 gap where torch's own is known, and where it comes from."""
    if math.isfinite(own) and FACTOR * own > floor:
        return FACTOR * own, f"{FACTOR:g} x torch's own {own:.1e}"
    return floor, f"floor; torch's own {own:.1e}"


def judge(
    model: str, rung: str, dtype: str, bound: Bound, ours: Tensors, theirs: Tensors, exact: Tensors, note: str = ""
) -> RungResult:
    """The result of holding our tensors against torch's.

    In float64 they are held against each other. In float32 each of ours is held against torch's float64, and judged by
    torch's own float32 error of that tensor; the result is the tensor's that is nearest to its tolerance, or beyond.

    Args:
        model: Name of the network.
        rung: Name of what is compared.
        dtype: Dtype of both sides.
        bound: How far both may be apart.
        ours: What JAX computed, by name.
        theirs: What torch computed in the same dtype.
        exact: What torch computed in float64 from the same numbers; not read in float64.
        note: Note for a reader.
    """
    if dtype == "float64" or set(ours) != set(exact):
        return RungResult(model, rung, dtype, measure(ours, theirs), bound.float64, note)
    found = []
    for name, value in exact.items():
        own = measure({name: theirs[name]}, {name: value}).max_rel
        found.append((measure({name: ours[name]}, {name: value}), *allowed(own, bound.float32)))
    gap, tolerance, origin = max(found, key=lambda one: one[0].max_rel / one[1])
    return RungResult(model, rung, dtype, gap, tolerance, note, origin)
