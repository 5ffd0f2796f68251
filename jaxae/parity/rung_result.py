"""A rung's result: how far two frameworks are apart, and how far they may be."""

import math
from dataclasses import dataclass

from jaxae.parity.gap import Gap


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

    def to_json(self) -> dict[str, str | float | bool | None]:
        """As plain JSON values; a gap that is no number is null."""
        names = {"model": self.model, "rung": self.rung, "dtype": self.dtype}
        sizes = {"max_abs": self.gap.max_abs, "max_rel": self.gap.max_rel}
        finite = {name: size if math.isfinite(size) else None for name, size in sizes.items()}
        return {**names, **finite, "tolerance": self.tolerance, "passed": self.passed}
