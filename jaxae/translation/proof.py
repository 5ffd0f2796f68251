"""The proof of a translation: both networks recorded on the same inputs with random parameters, and held together."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import torch
from flax import nnx

from jaxae.parity.comparison import STATISTICS, STEPS, Comparison
from jaxae.parity.flax_recorder import record as record_nnx
from jaxae.parity.judge import judge
from jaxae.port.conversion import from_torch
from jaxae.port.trial import float64_copy, float64_twin, randomise, redraw
from jaxae.storage.documents import JSONValue
from jaxae.translation.layers.reparametrised import settle
from jaxae.translation.noise import Widened, same_noise
from jaxae.translation.settings import default_dtype, no_fast_path
from torch_ref.recorder import record as record_torch
from torch_ref.recording import Conditions, Recording

# Adam divides by the size of the gradient: where that is rounding for the most part (a bias before batch norm), so is
# the step. The costs tell the trajectory; of the way of the parameters it is told whether it is another one.
TOLERANCE, STEPS_TOLERANCE, MOVED_TOLERANCE = 1e-12, 1e-9, 1e-4
_COARSE = 1e-6
_ROWS = 8
_LARGE = 2_000_000  # parameters
_ERRORS = (TypeError, ValueError, IndexError, KeyError, AttributeError, NameError, ZeroDivisionError)


@dataclass(frozen=True)
class Check:
    """One thing that was held together.

    Attributes:
        what: What it is.
        gap: The largest difference, relative to the largest element.
        tolerance: The largest that passes.
        where: Where it is.
    """

    what: str
    gap: float
    tolerance: float
    where: str = ""

    @property
    def passed(self) -> bool:
        """Whether the gap is within the tolerance; NaN is not."""
        return self.gap <= self.tolerance

    def __str__(self) -> str:
        """What, and how far apart."""
        return f"{self.what}: {self.gap:.0e}" + (
            "" if self.passed else f", more than {self.tolerance:.0e}, {self.where}"
        )


@dataclass(frozen=True)
class TranslationProof:
    """What was held together in float64, with random parameters.

    Attributes:
        checks: Each with its largest gap.
        notes: What was left out, and why.
    """

    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether everything agrees."""
        return bool(self.checks) and all(one.passed for one in self.checks)

    @property
    def first_failure(self) -> Check | None:
        """Where the networks part first, None if they do not."""
        return next((one for one in self.checks if not one.passed), None)

    def __str__(self) -> str:
        """The finding in words, a line for each."""
        head = "proven in float64, with random parameters" if self.passed else "NOT proven"
        return "\n".join([f"{head}:", *(f"  {one}" for one in self.checks), *(f"  {one}" for one in self.notes)])

    def to_json(self) -> dict[str, JSONValue]:
        """The whole as JSON has it."""
        checks: list[JSONValue] = [
            {
                "what": one.what,
                "gap": one.gap if np.isfinite(one.gap) else None,
                "tolerance": one.tolerance,
                "where": one.where,
                "passed": one.passed,
            }
            for one in self.checks
        ]
        return {"passed": self.passed, "checks": checks, "notes": list(self.notes)}


@dataclass(frozen=True)
class Counterparts:
    """How the two networks correspond.

    Attributes:
        names: torch's paths of layers and tensors by the source's.
        modules: torch's paths of all modules by the source's.
        constants: torch's tensors that the source lacks: constants that it writes, and what nothing calls.
    """

    names: Mapping[str, str]
    modules: Mapping[str, str]
    constants: Sequence[str]


def fill(ours: nnx.Module, theirs: torch.nn.Module, found: Counterparts) -> None:
    """Put a torch network's weights into its translation."""
    options: Any = {"names": dict(found.names), "flatten": "CHW", "unflatten": "CHW"}
    from_torch(ours, theirs.state_dict(), ignore=found.constants, **options)


def prove(
    theirs: torch.nn.Module,
    ours: nnx.Module,
    found: Counterparts,
    arguments: Sequence[np.ndarray],
    other: Sequence[np.ndarray] | None,
    *,
    training: bool = True,
    same: bool = True,
    steps: int | None = None,
    coarse: Collection[str] = (),
) -> TranslationProof:
    """Hold a translation and its origin together.

    Args:
        theirs: The torch network, which is left alone.
        ours: The translation, which is left alone.
        found: How they correspond.
        arguments: Arguments of both.
        other: Arguments with another size of the batch.
        training: Whether to run in training mode too.
        same: Whether training mode is written as inference is, so that its batch of another size tells of both.
        steps: Steps of Adam to take there; by default 20, of a large network 3.
        coarse: What torch itself takes the derivative of with constants in float32.
    """
    large = sum(one.numel() for one in theirs.parameters()) > _LARGE
    steps = (3 if large else 20) if steps is None else steps
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"), jax.default_matmul_precision("highest"):
        copied, twin = float64_copy(theirs), float64_twin(ours)
        statistics = [name for name, _ in copied.named_buffers() if "running_" in name]
        rng = np.random.default_rng(1)
        randomise(copied, statistics, rng)
        settle(copied)
        fill(twin, copied, found)
        pair = _Pair(copied, twin, found, _COARSE if coarse else TOLERANCE)
        checks, notes = pair.held(redraw(arguments, rng), Conditions(), "inference")
        if other is not None and not (training and same):
            more, _ = pair.held(redraw(other, rng), Conditions(gradients=False), "another batch")
            checks += more
        if training:
            title = "training" if other is None else "training, another batch"
            rows = arguments if other is None else _many(arguments, other, _ROWS // 2 if large else _ROWS)
            more, told = pair.held(redraw(rows, rng), Conditions(train=True, steps=steps), title)
            # Its moves are held together here, told of which n they are.
            checks, notes = checks + more, [*notes, *(one for one in told if "running_var" not in one)]
    notes += [f"torch's own derivative of {one} has constants in float32: gradients to {_COARSE:.0e}" for one in coarse]
    return TranslationProof(tuple(checks), tuple(dict.fromkeys(notes)))


def _many(arguments: Sequence[np.ndarray], other: Sequence[np.ndarray], rows: int) -> list[np.ndarray]:
    """The arguments with enough rows for the statistics of a batch: those of two are all cancellation."""
    grown = []
    for one, longer in zip(arguments, other, strict=True):
        axis = next((n for n, (a, b) in enumerate(zip(one.shape, longer.shape, strict=True)) if a != b), None)
        times = 1 if axis is None else -(-rows // one.shape[axis])
        grown.append(np.concatenate([one] * times, axis) if axis is not None else one)
    return grown


class _Pair:
    def __init__(self, theirs: torch.nn.Module, ours: nnx.Module, found: Counterparts, gradient: float):
        self._theirs, self._ours, self._found, self._gradient = theirs, ours, found, gradient

    def held(self, inputs: Sequence[np.ndarray], asked: Conditions, name: str) -> tuple[list[Check], list[str]]:
        """What both do on the same inputs, held together."""
        with default_dtype(torch.float64), same_noise(dropout=asked.train), Widened(), no_fast_path():
            left = record_torch(self._theirs, inputs, asked)
        options: Any = {"names": dict(self._found.names)}
        given: Any = list(inputs)
        names = list(self._theirs.state_dict())
        try:
            with same_noise():
                right = record_nnx(self._ours, given, asked, nnx_inputs=given, available=names, options=options)
        except _ERRORS as error:  # a rule wrote what does not run
            reason = str(error).partition("\n")[0]
            return [Check(f"{name}: it does not run ({reason})", float("inf"), TOLERANCE, "the whole")], []
        calls = []
        for call in right.calls:
            path, mark, count = call.path.partition("#")
            calls.append(call._replace(path=self._found.modules.get(path, path) + mark + count))
        right = replace(right, calls=calls)
        rows = judge(left, right, tolerance=TOLERANCE)
        return _checks(rows, name, asked.steps, left, right, self._gradient), list(rows.notes)


def _checks(
    found: Comparison, name: str, steps: int, left: Recording, right: Recording, gradient: float
) -> list[Check]:
    titles = {
        "result": f"{name}: results",
        "output": f"{name}: outputs of {{}} layers and blocks",
        "gradient": f"{name}: gradients of {{}} layers",
        "input gradient": f"{name}: gradients of inputs",
        STEPS: f"{steps} steps of Adam: parameters of {{}} layers",
        STATISTICS: f"{name}: running means of {{}} layers",
        "cost": f"{steps} steps of Adam: costs" if steps else f"{name}: cost",
    }
    checks = []
    for what, title in titles.items():
        rows = [row for row in found.rows if row.what == what]
        if rows:
            worst = max(rows, key=lambda row: (not row.passed, row.gap.max_rel))
            along = {STEPS: MOVED_TOLERANCE, "cost": max(STEPS_TOLERANCE, gradient)}
            tolerance = (along | dict.fromkeys(("gradient", "input gradient"), gradient)).get(what, worst.tolerance)
            first = next((row for row in rows if not row.gap.max_rel <= tolerance), worst)
            checks.append(Check(title.format(len(rows)), worst.gap.max_rel, tolerance, first.layer or "the whole"))
    variances = _variances(left, right) if left.asked.train else []
    if variances:
        checks.append(
            Check(
                f"{name}: running variances of {len(variances)} layers, but for n / (n - 1)",
                max(variances)[0],
                1e-9,
                max(variances)[1],
            )
        )
    return checks


def _variances(left: Recording, right: Recording) -> list[tuple[float, str]]:
    """How far moves of running variances are apart: torch's is of n - 1 examples, Flax's of n."""
    taken = {call.path: call.inputs[0] for call in left.calls if call.inputs}
    gaps = []
    for name in left.after:
        layer = name.rpartition(".")[0]
        if name.endswith("running_var") and name in right.after and layer in taken:
            moved = [side.after[name] - side.weights[name] for side in (left, right)]
            array = taken[layer]
            count = array.size / array.shape[1]
            # moved = share * (variance - before): with both shares the same, the variances are n / (n - 1) apart.
            gaps.append((_share(moved, left.weights[name], count), layer))
    return gaps


def _share(moved: list[np.ndarray], before: np.ndarray, count: float) -> float:
    """How unequal the share is by which each feature's variance moved, as it follows from both moves."""
    biased = moved[0] - moved[1]  # share * variance * (1 / (n - 1)), of the biased variance
    shares = (biased * (count - 1) - moved[1]) / before
    return float(np.ptp(shares) / np.abs(shares).max()) if np.abs(shares).max() else 0.0
