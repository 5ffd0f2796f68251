"""The judge: holds two recordings against each other, of whichever frameworks, without either network at hand."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxae.errors import InputError
from jaxae.parity.allowance import ALLOWANCES, coarsest, way
from jaxae.parity.channel_order import align, closest
from jaxae.parity.comparison import (
    COST,
    GRADIENT,
    INPUT,
    INPUT_GRADIENT,
    OUTPUT,
    RESULT,
    SETTING,
    WEIGHTS,
    Comparison,
    Difference,
    difference,
)
from jaxae.parity.gap import Gap, measure
from jaxae.parity.movement import movements
from torch_ref.calls import Call
from torch_ref.recording import FRAMEWORKS, Recording, weighting


def judge(left: Recording, right: Recording, *, tolerance: float | None = None) -> Comparison:
    """Compare what two networks did on the same inputs.

    Args:
        left: What the one did; torch's is compared as the first where the frameworks differ.
        right: What the other did.
        tolerance: Largest relative gap of everything; by default that of the dtype and device, of `ALLOWANCES`.

    Raises:
        InputError: If they did not do the same on the same inputs, or have results that do not correspond.
    """
    _check(left, right)
    if right.framework == "torch":
        left, right = right, left
    return _Judge(left, right, tolerance).compare()


def _check(left: Recording, right: Recording) -> None:
    """Refuse recordings that tell nothing of each other."""
    expected = "expected recordings of the same inputs, got"
    if len(left.inputs) != len(right.inputs):
        raise InputError(f"{expected} {len(left.inputs)} arrays in the first, {len(right.inputs)} in the second")
    for index, (one, other) in enumerate(zip(left.inputs, right.inputs, strict=True)):
        if one.shape != other.shape:
            raise InputError(f"{expected} input {index} of shape {one.shape} in the first, {other.shape} in the second")
        if not np.array_equal(one, other, equal_nan=one.dtype.kind == other.dtype.kind == "f"):
            raise InputError(f"{expected} other numbers in input {index}")
    for name, value in vars(left.asked).items():
        if (theirs := getattr(right.asked, name)) != value:
            said = f"{name} {value!r} in the first, {theirs!r} in the second"
            raise InputError(f"expected recordings of networks that were asked the same, got {said}")


# Measured: 62 % of the gradient of a bias that 1,568 places have, where torch is off by 0.2 %.
_STALLED = "a sum of many narrow floats may stall, as XLA adds them on a CPU; float64 tells whether more differs"


class _Judge:
    def __init__(self, left: Recording, right: Recording, tolerance: float | None):
        self._left, self._right, self._tolerance = left, right, tolerance
        self._mixed = left.framework != right.framework
        self._base = self._way = way((left, right))  # coarser after a layer that computes in another dtype
        self._ways = {self._base}
        self._notes = [*left.notes, *right.notes]

    def compare(self) -> Comparison:
        calls = {call.path: call for call in self._right.calls}
        forward = self._forward(calls)
        results, alike = self._results()
        backward: list[Difference] = []
        if self._left.asked.gradients and not (alike or self._left.asked.loss):
            self._notes.append("gradients were not compared: the results' shapes differ")
        elif self._left.asked.gradients:
            backward = [*self._gradients(), *self._input_gradients()]
            if not self._diverged():
                rows, notes = movements(self._left, self._right, self._way, self._tolerance)
                backward = [*self._costs(), *backward, *rows]
                self._notes += notes
        rows = (*forward, *results, *self._weights(), *self._settings(), *backward)
        return Comparison(rows, tuple(self._unpaired()), tuple(self._notes), tuple(self._reasons()), self._conditions())

    def _diverged(self) -> bool:
        return not any(np.isfinite(one.costs).all() for one in (self._left, self._right))

    def _allowed(self, what: str = "forward") -> float:
        return getattr(ALLOWANCES[self._way], what) if self._tolerance is None else self._tolerance

    def _forward(self, twins: Mapping[str, Call]) -> list[Difference]:
        rows: list[Difference] = []
        for call in self._left.calls:
            twin = twins.get(call.path)
            if twin is not None:
                self._way = coarsest(self._way, call.dtype, twin.dtype)
                self._ways.add(self._way)
            # The whole is compared by its result, as the caller picks it.
            if not call.path or twin is None:
                continue
            hint = self._hint(call)
            # A twin may take more (a label), or give more (a carry), than can be told apart.
            pairs = zip(call.inputs, twin.inputs, strict=False)
            inputs = [self._difference(call, INPUT, one, other) for one, other in pairs]
            pairs = zip(call.outputs, twin.outputs, strict=False)
            outputs = [self._difference(call, OUTPUT, one, other, hint) for one, other in pairs]
            if outputs and all(row.passed for row in outputs) and not all(row.passed for row in inputs):
                self._notes.append(f"{call.path} ({call.kind}) gives the same of inputs in another form")
                inputs = []
            rows += inputs + outputs
        return _in_order(rows)

    def _difference(self, call: Call, what: str, one: np.ndarray, other: np.ndarray, hint: str = "") -> Difference:
        one = align(call, one, other) if self._mixed else one
        if one.shape != other.shape:
            names = [FRAMEWORKS[one.framework] for one in (self._left, self._right)]
            first, second = names if self._mixed else ("the first", "the second")
            hint = f"shape {one.shape} in {first}, {other.shape} in {second}"
        return difference(call.path, call.kind, what, one, other, self._allowed(), hint)

    def _hint(self, call: Call) -> str:
        layer = call.path.partition("#")[0]
        names = [name for name in self._left.weights if _parent(name) == layer and name in self._right.weights]
        if not names:
            return "given the same input: its settings"
        gap = self._weight_gap(names)
        apart = f"its weights, which are {gap.max_rel:.1e} apart" if gap.max_rel > self._allowed() else "its settings"
        return f"given the same input{' and weights' if gap.max_rel <= self._allowed() else ''}: {apart}"

    def _results(self) -> tuple[list[Difference], bool]:
        """Rows of the results, and whether all have one shape."""
        ours, theirs = self._left.results, self._right.results
        if len(ours) != len(theirs):
            names = [FRAMEWORKS[one.framework] for one in (self._left, self._right)]
            raise InputError(
                f"expected results that correspond, got {len(ours)} arrays from {names[0]} and {len(theirs)} from "
                f"{names[1]}: pick them by torch_call and nnx_call, or in a module around the network"
            )
        by_name = ours.keys() == theirs.keys()
        rows, alike = [], True
        for index, ((name, one), in_order) in enumerate(zip(ours.items(), theirs.values(), strict=True)):
            other = theirs[name] if by_name else in_order
            one = closest(one, other) if self._mixed else one
            alike &= one.shape == other.shape
            label = f"result {index}" if not name or name == str(index) else f"result {name}"
            rows.append(difference("", label, RESULT, one, other, self._allowed()))
        return rows, alike

    def _weight_gap(self, names: Sequence[str]) -> Gap:
        ours, theirs = ({name: self._weight(side, name) for name in names} for side in (self._left, self._right))
        return measure(theirs, ours)

    def _weight(self, side: Recording, name: str) -> np.ndarray:
        """A weight, or the sum of those of torch that are one variable in Flax."""
        group = next((one for one in self._right.sums if name in one), None)
        if side.framework != "torch" or not self._mixed or group is None:
            return side.weights[name]
        terms = [side.weights[one] for one in group if one in side.weights]
        return np.sum(terms, axis=0) if len({one.shape for one in terms}) == 1 else side.weights[name]

    def _weights(self) -> list[Difference]:
        """Rows of layers whose weights differ."""
        rows = []
        kinds = {call.path: call.kind for call in self._left.calls}
        for layer, names in _by_layer(self._left.weights.keys() & self._right.weights.keys()).items():
            gap = self._weight_gap(names)
            if not gap.max_rel <= self._allowed():
                hint = f"{gap.where.partition(':')[0]}: other values, before anything ran"
                rows.append(Difference(layer, kinds.get(layer, ""), WEIGHTS, gap, self._allowed(), hint))
        return rows

    def _settings(self) -> list[Difference]:
        """A row where the rates of dropout differ, which is switched off in training mode."""
        ours, theirs = dict(self._left.dropout or {}), dict(self._right.dropout or {})
        if sorted(ours.values()) == sorted(theirs.values()):
            return []
        both = ours | theirs
        layer = next((path for path in both if ours.get(path) != theirs.get(path)), next(iter(both)))
        apart = abs(ours.get(layer, 0.0) - theirs.get(layer, 0.0))
        hint = f"rate {ours.get(layer, 0.0)} in the first, {theirs.get(layer, 0.0)} in the second"
        return [Difference(layer, "Dropout", SETTING, Gap(apart, float("inf"), layer), 0.0, hint)]

    def _costs(self) -> list[Difference]:
        ours, theirs = np.array(self._left.costs), np.array(self._right.costs)
        scale = np.abs(ours)
        if not self._left.asked.loss:  # a sum whose terms may cancel
            terms = (float(np.abs(weighting(y.shape) * y).sum()) for y in self._left.results.values())
            scale = np.append(scale, sum(terms))
        gap = measure({"cost": theirs}, {"cost": ours}, {"cost": scale})
        allowed = self._allowed() if len(ours) < 2 else self._allowed("gradient")
        hint = "" if gap.max_rel <= allowed else "the loss, or steps before it"
        return [Difference("", "", COST, gap, allowed, hint)]

    def _gradients(self) -> list[Difference]:
        """Gradients layer by layer, in the order of the backward pass."""
        order = {call.path: index for index, call in enumerate(self._left.calls)}
        kinds = {call.path: call.kind for call in self._left.calls}
        ours, theirs = self._left.gradients, self._right.gradients
        layers = _by_layer(name for name in ours if name in theirs)
        rows = []
        for path in sorted(layers, key=lambda path: -order.get(path, -1)):
            pairs = [(ours[name], theirs[name]) for name in layers[path]]
            gap = Gap(float("inf"), float("inf"), path)
            if all(one.shape == other.shape for one, other in pairs):
                # Relative to the layer's largest: a bias before a batch norm has a gradient of nothing but rounding,
                # which no two frameworks share.
                first, second = (np.concatenate([one.ravel() for one in side]) for side in zip(*pairs, strict=True))
                gap = measure({path: second}, {path: first})
            allowed = self._allowed("gradient")
            stalled = self._way in ("float16", "bfloat16") and not gap.max_rel <= allowed
            rows.append(Difference(path, kinds.get(path, ""), GRADIENT, gap, allowed, _STALLED if stalled else ""))
        return rows

    def _input_gradients(self) -> list[Difference]:
        ours, theirs = self._left.input_gradients, self._right.input_gradients
        allowed = self._allowed("gradient")
        return [
            difference(
                "", f"input {index}", INPUT_GRADIENT, ours[index], theirs[index], allowed, "the first layer, or before"
            )
            for index in ours
            if index in theirs
        ]

    def _unpaired(self) -> list[str]:
        """Layers with weights that only one of the networks runs; functions written as modules are no matter."""
        ours, theirs = ({call.path: call.kind for call in one.calls} for one in (self._left, self._right))
        weighted = {_parent(name) for side in (self._left, self._right) for name in side.weights}
        alone = sorted(set(ours) ^ set(theirs))
        return [f"{path} ({(ours | theirs)[path]})" for path in alone if path.partition("#")[0] in weighted - {""}]

    def _reasons(self) -> list[str]:
        """Why two networks of which nothing differs may not be the same."""
        if not any(array.size for array in self._left.results.values()):
            return ["the networks have no results"]
        if self._diverged():
            return ["the steps diverged, in both networks"]
        trained = self._left.trained | self._right.trained
        alone = sorted(trained & (self._left.weights.keys() ^ self._right.weights.keys()))
        absent = {name for group in self._right.sums for name in group if not set(group) & self._left.weights.keys()}
        alone = [name for name in alone if name not in absent]
        more = f" and {len(alone) - 4} more" if len(alone) > 4 else ""
        said = f"weights without a counterpart, which were not compared: {', '.join(alone[:4])}{more}"
        return [f"{said}; names say which is which"] if alone else []

    def _conditions(self) -> tuple[str, ...]:
        told = [f"tolerance in {name}: {ALLOWANCES[name]}" for name in ALLOWANCES if name in self._ways]
        return (
            str(self._left),
            str(self._right),
            *(told if self._tolerance is None else [f"tolerance: {self._tolerance:.0e}, as asked"]),
        )


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _by_layer(names: "Sequence[str] | object") -> dict[str, list[str]]:
    layers: dict[str, list[str]] = {}
    for name in names:  # type: ignore[union-attr]
        layers.setdefault(_parent(name), []).append(name)
    return layers


def _in_order(rows: list[Difference]) -> list[Difference]:
    """A container ends after its parts, whose difference is the more telling: inputs of it go."""
    containers = {one.layer for one in rows if any(other.layer.startswith(f"{one.layer}.") for other in rows)}
    return [row for row in rows if not (row.what == INPUT and row.layer in containers)]
