"""A comparison of two networks: what differs, where first, and why that may be."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jaxae.parity.gap import Gap, measure
from jaxae.storage.documents import JSONValue
from jaxae.storage.tables import format_table

OUTPUT, INPUT, RESULT, WEIGHTS, SETTING = "output", "input", "result", "weights", "setting"
COST, GRADIENT, INPUT_GRADIENT, STEPS, STATISTICS = "cost", "gradient", "input gradient", "steps", "statistics"
_FORWARD = (OUTPUT, INPUT, RESULT, WEIGHTS, SETTING)
Verdict = Literal["equal", "differs", "cannot tell"]
_ROUNDED = 1e-6
_TITLES = ("layer", "kind", "what", "max abs", "max rel", "tolerance", "verdict")


@dataclass(frozen=True)
class Comparison:
    """What two networks made of the same inputs, layer by layer.

    Attributes:
        rows: Inputs and outputs of each paired layer in the order of execution, the result of the whole, weights and
            settings that differ, then gradients of each layer's parameters from the last layer to the first, and what
            an optimizer made of them.
        unpaired: Layers of one network that the other has not under a corresponding name.
        notes: What was assumed, or left out.
        reasons: Why nothing can be told where nothing differs.
        conditions: Precision in which each network computed, and how far apart numbers may be for that.
    """

    rows: tuple["Difference", ...]
    unpaired: tuple[str, ...]
    notes: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()

    @property
    def first_difference(self) -> "Difference | None":
        """Where the networks part first, in the order of the forward pass; None if they do not.

        An "input" that differs, where all before it agrees, is made by what lies between the
        layers: an activation, a flatten. An "output" is the layer's own.
        """
        return next((row for row in self.rows if row.what in _FORWARD and not row.passed), None)

    @property
    def first_gradient_difference(self) -> "Difference | None":
        """Where the backward pass parts first, which begins at the last layer, or what an optimizer makes of it."""
        return next((row for row in self.rows if row.what not in _FORWARD and not row.passed), None)

    @property
    def verdict(self) -> Verdict:
        """What is found: "equal" is said of nothing that was not compared."""
        if not all(row.passed for row in self.rows):
            return "differs"
        return "cannot tell" if self.reasons or not self.rows else "equal"

    @property
    def passed(self) -> bool:
        """Whether everything agrees."""
        return self.verdict == "equal"

    def to_json(self) -> dict[str, JSONValue]:
        """The whole as JSON has it; an infinite gap is null."""
        first, backward = self.first_difference, self.first_gradient_difference
        texts = {"unpaired": self.unpaired, "notes": self.notes, "reasons": self.reasons, "conditions": self.conditions}
        return {
            "verdict": self.verdict,
            "first_difference": first and first.sentence(),
            "first_gradient_difference": backward and backward.sentence(),
            **{name: list(several) for name, several in texts.items()},
            "rows": [row.to_json() for row in self.rows],
        }

    def __str__(self) -> str:
        found = (("", self.first_difference), (" of gradients", self.first_gradient_difference))
        first = [f"first difference{where}: {one.sentence() if one else 'none'}" for where, one in found]
        alone = [f"without a counterpart: {path}" for path in self.unpaired]
        cells = [row.cells() for row in self.rows]
        reasons = "; ".join(self.reasons)
        ends = [f"{self.verdict}: {reasons}"] if self.verdict == "cannot tell" else [*self.reasons, self.verdict]
        return "\n".join([*self.conditions, format_table(_TITLES, cells), *first, *alone, *self.notes, *ends])


@dataclass(frozen=True)
class Difference:
    """How far a layer's input, output or gradients are apart.

    Attributes:
        layer: Dotted path of the layer in torch; "" is the whole network.
        kind: Class of the layer, or number of the result.
        what: "input", "output", "result", "weights", "gradient" or another of the words above.
        gap: Measured gap.
        tolerance: Largest relative gap that passes.
        hint: Likely reason of a gap beyond that.
    """

    layer: str
    kind: str
    what: str
    gap: Gap
    tolerance: float
    hint: str = ""

    @property
    def passed(self) -> bool:
        """Whether the relative gap is within the tolerance; NaN is not."""
        return self.gap.max_rel <= self.tolerance

    def cells(self) -> tuple[str, ...]:
        """The cells of the printed table."""
        verdict = "same" if self.passed else "DIFFERS"
        numbers = (f"{self.gap.max_abs:.1e}", f"{self.gap.max_rel:.1e}", f"{self.tolerance:.0e}")
        return (self.layer or "(whole)", self.kind, self.what, *numbers, verdict)

    def to_json(self) -> dict[str, JSONValue]:
        """The row as JSON has it; an infinite gap is null."""
        gaps = {"max_abs": self.gap.max_abs, "max_rel": self.gap.max_rel}
        numbers = {name: gap if math.isfinite(gap) else None for name, gap in gaps.items()}
        own = {name: getattr(self, name) for name in ("layer", "kind", "what", "tolerance", "hint", "passed")}
        return {**own, **numbers}

    def sentence(self) -> str:
        """The finding in words."""
        where = f"{self.what} of {self.layer or 'the whole'} ({self.kind}), {self.gap.max_rel:.1e}"
        return f"{where}: {self.hint}" if self.hint else where


def difference(
    layer: str, kind: str, what: str, left: np.ndarray, right: np.ndarray, allowed: float, hint: str = ""
) -> Difference:
    """The difference of two arrays that should be the same, relative to the first; the hint is that of a layer."""
    gap = measure({layer: right}, {layer: left})
    hint = "" if gap.max_rel <= allowed else hint or _hint(what, left, right)
    if hint and gap.max_rel < _ROUNDED:
        hint += "; so small a gap is also that of float32 in it, as in the attention of JAX"
    return Difference(layer, kind, what, gap, allowed, hint)


def _hint(what: str, left: np.ndarray, right: np.ndarray) -> str:
    if left.shape != right.shape:
        return f"shape {left.shape} in the first, {right.shape} in the second"
    if what == INPUT:
        if np.allclose(np.sort(left, axis=None), np.sort(right, axis=None), rtol=1e-9, atol=1e-12):
            return "the same numbers in another order: a flatten, reshape or transpose before it"
        return "an activation or another operation between it and the layers before it"
    return "given the same layers: what follows the last of them"
