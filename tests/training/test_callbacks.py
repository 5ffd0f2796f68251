"""Callbacks of a training: when they are called, with what, and how they end it."""

import jax
import numpy as np
import pytest

from jaxae import AUTOENCODER, Moment, evaluate_model, fit, load, load_run, parameters_of
from jaxae.data.dataset import Dataset, Split

CONFIG = AUTOENCODER.replace(epochs=3, batch_size=16, hidden=(3,), learning_rate=0.05, seed=1)


class UserError(Exception):
    """A mistake in a callback."""


@pytest.fixture(scope="module")
def data() -> Dataset:
    digits = load("digits")
    return Dataset("digits", Split(*(a[:40] for a in digits.train)), Split(*(a[:20] for a in digits.test)), 10)


@pytest.fixture(scope="module")
def whole(data):
    return fit(CONFIG, data, log_every=1)


def assert_equal(first, second) -> None:
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_they_are_called_at_logged_steps_and_epochs_with_what_is_recorded(data, whole):
    moments: list[Moment] = []
    models = {}

    def keep(moment: Moment) -> None:
        moments.append(moment)
        if moment.ends_epoch:
            models[moment.epoch] = moment.model()

    result = fit(CONFIG, data, log_every=2, callbacks=[keep, lambda moment: False])
    assert_equal(result.state, whole.state)
    assert [(one.epoch, one.step, one.ends_epoch) for one in moments] == [
        (epoch + 1, 3 * epoch + step, step == 3) for epoch in range(3) for step in (0, 2, 3)
    ]
    assert [one.metrics for one in moments] == result.metrics
    # They are copies: training has gone on since.
    for moment in moments:
        if moment.ends_epoch:
            cost = float(evaluate_model(models[moment.epoch], data.test).cost)
            assert cost == pytest.approx(moment.metrics["test_cost"], rel=1e-6)
    assert_equal(parameters_of(models[3]), parameters_of(result.model))


@pytest.mark.parametrize(("epoch", "step"), [(2, 6), (2, 4)], ids=["at its end", "within it"])
def test_one_that_returns_true_ends_the_training_with_the_epoch_and_it_can_go_on(epoch, step, data, whole, tmp_path):
    called: list[int] = []
    lines: list[str] = []
    callbacks = [lambda moment: moment.step == step, lambda moment: called.append(moment.step)]
    folder = tmp_path / "run"
    ended = fit(CONFIG, data, run_dir=folder, log_every=1, callbacks=callbacks, log=lines.append)
    assert called == [0, 1, 2, 3, 3, 4, 5, 6]
    assert f"Stopped after epoch {epoch:03d}/003 | by a callback" in lines
    short = fit(CONFIG.replace(epochs=epoch), data)
    assert_equal(ended.state, short.state)
    assert_equal(parameters_of(load_run(folder)[1]), parameters_of(short.model))
    assert_equal(fit(CONFIG, data, run_dir=folder, resume=True).state, whole.state)


@pytest.mark.parametrize("step", [3, 4])
def test_what_one_raises_passes_through_and_the_run_can_go_on(step, data, whole, tmp_path):
    def fail(moment: Moment) -> None:
        if moment.step == step:
            raise UserError

    with pytest.raises(UserError):
        fit(CONFIG, data, run_dir=tmp_path / "run", log_every=1, callbacks=[fail], checkpoint_seconds=1000)
    assert list((tmp_path / "run/checkpoints").glob("[0-9]*"))
    resumed = fit(CONFIG, data, run_dir=tmp_path / "run", resume=True, log_every=1)
    assert_equal(resumed.state, whole.state)
    tests = [[line["test_cost"] for line in one.metrics if "test_cost" in line] for one in (whole, resumed)]
    assert tests[0] == tests[1]
