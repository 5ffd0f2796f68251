"""A comparison of two networks: what differs, where first, and why that may be."""

from dataclasses import dataclass

import numpy as np

from jaxae.parity.gap import Gap, measure
from jaxae.tables import format_table

TOLERANCE = {"float64": 1e-10, "float32": 1e-4}

OUTPUT, INPUT, GRADIENT, RESULT = "output", "input", "gradient", "result"
_TITLES = ("layer", "kind", "what", "max abs", "max rel", "tolerance", "verdict")


@dataclass(frozen=True)
class Comparison:
    """What two networks made of the same weights and inputs, layer by layer.

    Attributes:
        rows: Inputs and outputs of each paired layer in the order of execution, the result of the
            whole, then gradients of each layer's parameters from the last layer to the first.
        unpaired: Layers of one network that the other has not under a corresponding name.
        notes: What was assumed, or left out.
    """

    rows: tuple["Difference", ...]
    unpaired: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def first_difference(self) -> "Difference | None":
        """Where the networks part first, in the order of the forward pass; None if they do not.

        An "input" that differs, where all before it agrees, is made by what lies between the
        layers: an activation, a flatten. An "output" is the layer's own.
        """
        return next((row for row in self.rows if row.what != GRADIENT and not row.passed), None)

    @property
    def first_gradient_difference(self) -> "Difference | None":
        """Where the backward pass parts first, which begins at the last layer."""
        return next((row for row in self.rows if row.what == GRADIENT and not row.passed), None)

    @property
    def passed(self) -> bool:
        """Whether everything agrees."""
        return all(row.passed for row in self.rows)

    def __str__(self) -> str:
        found = (("", self.first_difference), (" of gradients", self.first_gradient_difference))
        first = [f"first difference{where}: {one.sentence() if one else 'none'}" for where, one in found]
        alone = [f"without a counterpart: {path}" for path in self.unpaired]
        return "\n".join([format_table(_TITLES, [row.cells() for row in self.rows]), *first, *alone, *self.notes])


@dataclass(frozen=True)
class Difference:
    """How far a layer's input, output or gradients are apart.

    Attributes:
        layer: Dotted path of the layer in torch; "" is the whole network.
        kind: Class of the layer, or number of the result.
        what: "input", "output", "result" or "gradient".
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

    def sentence(self) -> str:
        """The finding in words."""
        where = f"{self.what} of {self.layer or 'the whole'} ({self.kind}), {self.gap.max_rel:.1e}"
        return f"{where}: {self.hint}" if self.hint else where


def difference(
    layer: str, kind: str, what: str, left: np.ndarray, right: np.ndarray, tolerance: float | None
) -> Difference:
    """The difference of a torch layer's array, in Flax's layout, and of its twin's."""
    gap = measure({layer: right}, {layer: left})
    coarse = "float64" if min(left.itemsize, right.itemsize) == 8 else "float32"
    allowed = TOLERANCE[coarse] if tolerance is None else tolerance
    hint = "" if gap.max_rel <= allowed else _hint(what, left, right)
    return Difference(layer, kind, what, gap, allowed, hint)


def _hint(what: str, left: np.ndarray, right: np.ndarray) -> str:
    if left.shape != right.shape:
        return f"shape {left.shape} in torch, {right.shape} in NNX"
    if what == INPUT:
        if np.allclose(np.sort(left, axis=None), np.sort(right, axis=None), rtol=1e-9, atol=1e-12):
            return "the same numbers in another order: a flatten, reshape or transpose before it"
        return "an activation or another operation between it and the layers before it"
    if what == OUTPUT:
        return "given the same input: its weights or its settings"
    return "given the same layers: what follows the last of them"
