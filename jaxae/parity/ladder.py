"""The ladder: every rung of every network, from a layer to a whole training run."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from jaxae.data.dataset import Dataset, load
from jaxae.parity import initial_rungs, layer_rungs, loss_rungs, model_rungs, run_rungs, trajectory
from jaxae.parity.cases import PRECISIONS, Precision
from jaxae.parity.mutations import mutation_of
from jaxae.parity.pair import Pair, make_feed, make_pair, make_shifted_feed
from jaxae.parity.rung_result import RungResult
from jaxae.parity.settings import LadderSettings
from jaxae.parity.trajectory import Curve

NUM_DIGITS = 1437
EPOCHS = 5


@dataclass
class LadderResult:
    """What was measured.

    Attributes:
        rows: Results of the rungs, in the order of the ladder.
        curves: Curves of the trajectories.
    """

    rows: list[RungResult] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether there is a row, and every one is within its tolerance."""
        return bool(self.rows) and all(row.passed for row in self.rows)


def run_ladder(settings: LadderSettings, *, datasets: Iterable[tuple[Dataset, int]] | None = None) -> LadderResult:
    """Run the ladder in this process.

    JAX must have x64 enabled; float32 rungs compute in float32 all the same.

    Args:
        settings: How much of the ladder to run.
        datasets: Data of the whole runs, each with a number of epochs; by default five epochs of
            digits, and with `settings.full` of MNIST.

    Raises:
        InputError: If the mutation is unknown, or MNIST cannot be had.
    """
    result, rungs = LadderResult(), settings.rungs
    for dtype in PRECISIONS:
        if "layers" in rungs:
            result.rows += layer_rungs.layer_rows(dtype)
            result.rows += layer_rungs.condition_rows(dtype)
            result.rows += layer_rungs.activation_rows(dtype)
        if "losses" in rungs:
            result.rows += loss_rungs.loss_rows(dtype)
    for name in settings.models:
        for rung, rows in (("initialisation", _initial), ("model", _model), ("step", _step)):
            if rung in rungs:
                for dtype in PRECISIONS:
                    result.rows += rows(_pair(name, dtype, settings))
        if "trajectory" in rungs:
            found, curves = _trajectory(name, settings)
            result.rows += found
            result.curves += curves
        if "run" in rungs:
            for data, epochs in datasets or _datasets(settings):
                exact, single = (_pair(name, dtype, settings) for dtype in PRECISIONS)
                result.rows += run_rungs.run_rows(exact, data, single, epochs=epochs)
    return result


def _datasets(settings: LadderSettings) -> Iterator[tuple[Dataset, int]]:
    yield load("digits"), EPOCHS
    if settings.full:
        yield load("mnist", settings.data_dir, original_order=True), EPOCHS


def _pair(name: str, dtype: Precision, settings: LadderSettings) -> Pair:
    pair = make_pair(name, dtype, devices=settings.devices)
    return mutation_of(settings.mutation)(pair) if settings.mutation else pair


def _initial(pair: Pair) -> Iterator[RungResult]:
    if pair.dtype == "float32":
        yield initial_rungs.initialisation_row(pair)
        yield initial_rungs.replayed_weights_row(pair)


def _model(pair: Pair) -> Iterator[RungResult]:
    feed = make_feed(steps=1, batch_size=16)
    yield model_rungs.stage_row(pair, feed)
    yield model_rungs.forward_row(pair, feed)
    if pair.is_vae:
        plain = replace(pair, config=pair.config.replace(lowering="plain"))
        yield model_rungs.forward_row(plain, feed, rung="forward pass, plain lowering")
        yield model_rungs.reparameterization_row(pair)
        yield initial_rungs.own_noise_row(pair, feed)


def _step(pair: Pair) -> Iterator[RungResult]:
    # As many steps as an epoch of digits, for the runs then reuse the compiled program.
    size = pair.config.train.batch_size
    feed = model_rungs.calm_feed(pair, steps=-(-NUM_DIGITS // size), batch_size=size)
    yield from model_rungs.step_rows(pair, feed)
    if not pair.is_vae and pair.dtype == "float64":
        yield model_rungs.saturated_row(pair, feed)
    yield model_rungs.adam_row(pair, feed)


def _trajectory(name: str, settings: LadderSettings) -> tuple[list[RungResult], list[Curve]]:
    # A convolution in float64 at the post's 128 would take minutes.
    feed = make_shifted_feed(steps=settings.steps, batch_size=256 if name == "Autoencoder" else 16)
    pairs = [_pair(name, dtype, settings) for dtype in PRECISIONS]
    return trajectory.trajectory_rows(pairs[0], feed, pairs[1])
