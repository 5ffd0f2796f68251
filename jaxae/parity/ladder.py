"""The ladder: every rung of every network, from a layer to a whole training run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from jaxae.data.dataset import Dataset
from jaxae.parity import initial_rungs, layer_rungs, loss_rungs, model_rungs, runs, trajectory
from jaxae.parity.mutation import Mutation
from jaxae.parity.pair import CASES, Pair, Precision, make_feed, make_pair, make_shifted_feed
from jaxae.parity.row import Row
from jaxae.parity.trajectory import Curve

RUNGS = ("layers", "losses", "initialisation", "model", "step", "trajectory", "run")
NUM_DIGITS = 1437
PRECISIONS: tuple[Precision, ...] = ("float64", "float32")


@dataclass
class Report:
    """What was measured: rows in the order of the ladder, and the curves of the trajectories."""

    rows: list[Row] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether there is a row, and every one is within its tolerance."""
        return bool(self.rows) and all(row.passed for row in self.rows)


@dataclass(frozen=True)
class Plan:
    """How much of the ladder to climb.

    Attributes:
        models: Names out of CASES.
        rungs: Names out of RUNGS.
        steps: Length of the trajectories.
        datasets: Data of the whole runs, and how many epochs of it.
        mutation: A deliberate mistake, to see the rungs turn red.
    """

    models: tuple[str, ...] = tuple(CASES)
    rungs: tuple[str, ...] = RUNGS
    steps: int = 1000
    datasets: tuple[tuple[Dataset, int], ...] = ()
    mutation: Mutation | None = None


def climb(plan: Plan, report: Callable[[Row], object] = lambda row: None) -> Report:
    """Climb the ladder in this process; each row is also reported as it is measured.

    JAX must have x64 enabled; float32 rungs compute in float32 all the same.
    """
    whole = Report()
    for part in (
        *shared_parts(plan),
        *(part for name in plan.models for part in parts(name, plan)),
    ):
        rows, curves = part()
        for row in rows:
            report(row)
            whole.rows.append(row)
        whole.curves += curves
    return whole


Part = Callable[[], tuple[Iterator[Row] | list[Row], list[Curve]]]


def shared_parts(plan: Plan) -> Iterator[Part]:
    """Rungs that need no network."""
    for dtype in PRECISIONS:
        if "layers" in plan.rungs:
            for rung in (
                layer_rungs.layer_rows,
                layer_rungs.condition_rows,
                layer_rungs.activation_rows,
            ):
                yield lambda rung=rung, dtype=dtype: (rung(dtype), [])
        if "losses" in plan.rungs:
            yield lambda dtype=dtype: (loss_rungs.loss_rows(dtype), [])


def parts(name: str, plan: Plan) -> Iterator[Part]:
    """Rungs of one network."""
    for rung, rows in (("initialisation", _initial), ("model", _model), ("step", _step)):
        if rung in plan.rungs:
            for dtype in PRECISIONS:
                yield lambda rows=rows, dtype=dtype: (list(rows(_pair(name, dtype, plan))), [])
    if "trajectory" in plan.rungs:
        yield lambda: _trajectory(name, plan)
    if "run" in plan.rungs:
        for data, epochs in plan.datasets:
            for dtype in PRECISIONS:
                yield lambda dtype=dtype, data=data, epochs=epochs: (
                    list(runs.run_rows(_pair(name, dtype, plan), data, epochs=epochs)),
                    [],
                )


def _pair(name: str, dtype: Precision, plan: Plan) -> Pair:
    pair = make_pair(name, dtype)
    return plan.mutation(pair) if plan.mutation else pair


def _initial(pair: Pair) -> Iterator[Row]:
    if pair.dtype == "float32":
        yield initial_rungs.initialisation_row(pair)
        yield initial_rungs.replayed_weights_row(pair)


def _model(pair: Pair) -> Iterator[Row]:
    feed = make_feed(steps=1, batch_size=16)
    yield model_rungs.stage_row(pair, feed)
    yield model_rungs.forward_row(pair, feed)
    if pair.is_vae:
        model = pair.config.replace(lowering="plain").model
        plain = replace(pair, config=replace(pair.config, model=model))
        yield model_rungs.forward_row(plain, feed, rung="forward pass, plain lowering")
        yield model_rungs.reparameterization_row(pair)
        yield initial_rungs.own_noise_row(pair, feed)


def _step(pair: Pair) -> Iterator[Row]:
    # As many steps as an epoch of digits, for the runs then reuse the compiled program.
    size = pair.config.train.batch_size
    feed = make_feed(steps=-(-NUM_DIGITS // size), batch_size=size)
    yield from model_rungs.step_rows(pair, feed)
    yield model_rungs.adam_row(pair, feed)


def _trajectory(name: str, plan: Plan) -> tuple[list[Row], list[Curve]]:
    # A convolution in float64 at the post's 128 would take minutes.
    feed = make_shifted_feed(steps=plan.steps, batch_size=256 if name == "Autoencoder" else 16)
    pairs = [_pair(name, dtype, plan) for dtype in PRECISIONS]
    return trajectory.trajectory_rows(pairs[0], feed, pairs[1])
