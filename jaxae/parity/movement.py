"""Movement: how far an optimizer moved the weights of two networks, and a pass in training mode their statistics."""

import numpy as np

from jaxae.parity.allowance import ALLOWANCES
from jaxae.parity.comparison import STATISTICS, STEPS, Difference
from jaxae.parity.gap import Gap, measure
from jaxae.parity.tolerance import DECIDED
from torch_ref.recording import Recording


def movements(
    left: Recording, right: Recording, way: str, tolerance: float | None
) -> tuple[list[Difference], list[str]]:
    """Differences of how far weights and statistics were moved, layer by layer, and notes.

    Args:
        left: What the one network did.
        right: What the other did.
        way: How it was computed, a name of `ALLOWANCES`.
        tolerance: Largest relative gap; by default that of the way.
    """
    allowed = ALLOWANCES[way].moved if tolerance is None else tolerance
    kinds = {call.path: call.kind for call in left.calls}
    layers: dict[tuple[str, str], list[str]] = {}
    notes: list[str] = []
    for name in left.after:
        if name not in right.after or name not in right.weights or left.after[name].shape != right.after[name].shape:
            continue
        trained = name in left.trained
        if trained and not left.asked.steps:
            continue
        if name.endswith("running_var") and left.framework != right.framework:
            # Of which Flax takes the biased one, by n / (n - 1) less: docs/coming-from-pytorch.md.
            if left.asked.train:
                notes.append(f"{name} was not compared: torch keeps the unbiased variance, Flax the biased one")
            continue
        layers.setdefault((name.rpartition(".")[0], STEPS if trained else STATISTICS), []).append(name)
    rows = []
    for (layer, what), names in layers.items():
        parts = [_moved(left, right, name, names, way) for name in names]
        ours, theirs, least = (np.concatenate([part[side] for part in parts]) for side in range(3))
        if not (np.any(ours) or np.any(theirs)):
            continue
        # What rounding of the weights themselves leaves is no difference.
        gap = measure({layer: theirs}, {layer: ours}, {layer: 4 * least / max(allowed, 1e-30)})
        hint = ""
        if not gap.max_rel <= allowed:
            hint = (
                "its momentum, or what it was given"
                if what == STATISTICS
                else "the optimizer, or gradients after the first"
            )
        rows.append(Difference(layer, kinds.get(layer, ""), what, Gap(*gap), allowed, hint))
    return rows, notes


def _moved(left: Recording, right: Recording, name: str, names: list[str], way: str) -> tuple[np.ndarray, ...]:
    """How far both moved a tensor, and what rounding of it is; without elements that rounding decides."""
    ours, theirs = (one.after[name].astype(np.float64) - one.weights[name] for one in (left, right))
    before = np.abs(left.weights[name]) * np.finfo(np.float64 if way == "float64" else np.float32).eps
    kept = np.ones(ours.shape, bool)
    if way != "float64" and left.asked.optimizer == "adam" and name in left.gradients:
        # Adam divides a gradient by its own magnitude: of one that is rounding alone, it makes a whole step.
        largest = max(float(np.abs(left.gradients[one]).max(initial=0)) for one in names if one in left.gradients)
        kept = np.abs(left.gradients[name]) >= DECIDED * largest
    return ours[kept], theirs[kept], before[kept]
