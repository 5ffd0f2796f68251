"""The best epoch's parameters kept, and trainings that end when none is better for a while."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxae import AUTOENCODER, InputError, fit, fit_many, load, load_run, parameters_of
from jaxae.data.dataset import Dataset, Split
from jaxae.training.best import better_of, out_of_patience
from jaxae.training.many import save_many
from jaxae.training.runtime import make_mesh
from jaxae.training.state import Best

# A learning rate at which test costs go down and up: the best of seed 1 and 3 are the fifth and the seventh epoch.
CONFIG = AUTOENCODER.replace(epochs=12, batch_size=16, hidden=(3,), learning_rate=0.2, seed=1, patience=2)


@pytest.fixture(scope="module")
def data() -> Dataset:
    digits = load("digits")
    return Dataset("digits", Split(*(a[:40] for a in digits.train)), Split(*(a[:20] for a in digits.test)), 10)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run that was never stopped, its folder and its lines."""
    lines: list[str] = []
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return fit(CONFIG, data, run_dir=folder, log=lines.append), folder, lines


def recorded(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "time"} for line in lines]


def assert_equal(first, second) -> None:
    jax.tree.map(np.testing.assert_array_equal, first, second)


COSTS = {
    "falling": [3.0, 2.0, 1.0, 0.5],
    "equal": [2.0, 2.0, 2.0, 2.0],
    "up and down": [3.0, 4.0, 2.0, 2.5],
    "late": [3.0, 4.0, 5.0, 1.0],
    "not finite at first": [math.nan, math.inf, 5.0, 6.0],
    "not finite later": [2.0, math.nan, -math.inf, 1.0],
}


@pytest.mark.parametrize("patience", [0, 1, 2])
def test_the_best_is_that_of_a_loop_over_the_costs(patience):
    """All at once, as models side by side: each as it would be by itself."""
    table = np.array(list(COSTS.values()), np.float32)
    best = Best({"a": jnp.zeros((len(table), 2))}, jnp.full(len(table), jnp.inf), jnp.zeros(len(table), jnp.int32))
    over = []
    for epoch, costs in enumerate(table.T, 1):
        given = {"a": jnp.full((len(table), 2), float(epoch))}
        best = better_of(best, given, jnp.asarray(costs), epoch, patience)
        over.append(out_of_patience(best, epoch, patience))
    for row, costs in enumerate(table):
        kept, least, stopped = 0, math.inf, False
        for epoch, cost in enumerate(costs, 1):
            if not stopped and (cost < least or not math.isfinite(least)):
                kept, least = epoch, float(cost)
            stopped = stopped or (patience > 0 and epoch - kept >= patience)
        assert int(best.epoch[row]) == kept, list(COSTS)[row]
        np.testing.assert_array_equal(best.cost[row], np.float32(least))
        np.testing.assert_array_equal(best.parameters["a"][row], [kept, kept])
    assert over == [False] * 4  # the first costs fall to the end
    assert not out_of_patience(None, 9, 3)


def test_a_training_ends_out_of_patience_and_keeps_the_best(data, whole):
    result, folder, lines = whole
    tests = [line for line in result.metrics if "test_cost" in line]
    costs = [line["test_cost"] for line in tests]
    best = int(np.argmin(costs)) + 1
    assert len(costs) == best + 2 < 12
    assert [line["best_epoch"] for line in tests] == [int(np.argmin(costs[: n + 1])) + 1 for n in range(len(costs))]
    assert f"Stopped after epoch {best + 2:03d}/012 | 2 epochs without a better test cost" in lines
    assert f"Best epoch: {best:03d}/012 | Test cost: {min(costs):.4f}" in lines
    assert lines[-1].startswith("Total Training Time: ")
    # The parameters are those of a training that ends there.
    short = fit(CONFIG.replace(epochs=best, patience=0), data)
    assert "best_epoch" not in short.metrics[-1]
    for model in (result.model, load_run(folder)[1]):
        assert_equal(parameters_of(model), short.state.parameters)
    # So do those that train on to the end; the state is where that is.
    kept = fit(CONFIG.replace(epochs=best + 2, patience=0, keep="best"), data)
    assert_equal(parameters_of(kept.model), short.state.parameters)
    assert_equal(kept.state, result.state)
    assert int(kept.state.step) == 3 * (best + 2)


@pytest.mark.parametrize("where", ["Epoch: 006/012 | Batch 001", "Epoch: 007/012 | Batch 000", "Stopped after"])
def test_resuming_is_as_if_never_stopped_across_the_end_too(where, data, whole, tmp_path):
    result, folder, _ = whole

    def log(line: str) -> None:
        if line.startswith(where):
            raise BrokenPipeError("nobody reads this")

    with pytest.raises(BrokenPipeError):
        fit(CONFIG, data, run_dir=tmp_path / "parts", log=log, log_every=1)
    for _ in range(2):  # the second time, it is over already
        resumed = fit(CONFIG, data, run_dir=tmp_path / "parts", resume=True)
        assert_equal(resumed.state, result.state)
        assert (tmp_path / "parts/weights.safetensors").read_bytes() == (folder / "weights.safetensors").read_bytes()
        tests = [[line for line in recorded(one) if "test_cost" in line] for one in (folder, tmp_path / "parts")]
        assert tests[0] == tests[1]


def test_more_epochs_do_not_begin_a_training_again_that_is_out_of_patience(data, whole, tmp_path):
    result, _, _ = whole
    fit(CONFIG, data, run_dir=tmp_path / "run")
    more = fit(CONFIG.replace(epochs=20), data, run_dir=tmp_path / "run", resume=True)
    assert_equal(more.state, result.state)
    assert_equal(parameters_of(more.model), parameters_of(result.model))


@pytest.mark.usefixtures("x64")
def test_models_side_by_side_end_each_at_their_own_epoch(data, tmp_path):
    config, mesh = CONFIG.replace(dtype="float64"), make_mesh(devices=1)
    lines: list[str] = []
    many = fit_many(config, data, seeds=[1, 3], mesh=mesh, log=lines.append)
    alone = [fit(config.replace(seed=seed), data, mesh=mesh) for seed in (1, 3)]
    epochs = [one.metrics[-1]["best_epoch"] for one in alone]
    assert epochs[0] != epochs[1]
    assert many.best is not None
    assert many.best[:, -1].tolist() == epochs
    assert many.best.shape == many.test.cost.shape == (2, max(epochs) + 2)
    for index, one in enumerate(alone):
        own = jax.tree.map(lambda leaf: leaf[index], many.parameters)  # noqa: B023
        # Measured: 2e-15.
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-9), own, parameters_of(one.model))
    assert lines[-1] == f"Best epochs: {epochs[0]}, {epochs[1]} | " + lines[-1].partition(" | ")[2]
    save_many(tmp_path / "many", many, [1, 3])
    assert recorded(tmp_path / "many")[-1]["best_epoch"] == epochs


@pytest.mark.parametrize("change", [{"patience": 1}, {"keep": "best"}])
def test_a_replay_keeps_the_last_epoch(change):
    (name,) = change
    with pytest.raises(InputError, match=f"expected no {name} in a replay, which has .*, got "):
        AUTOENCODER.replace(replay="torch", **change)


def test_the_summary_tells_the_best_epoch_the_average_and_the_dtypes(command, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxae.training.plots.draw_run", lambda *_, **__: [])
    flags = ("--epochs", 3, "--hidden", 2, "--learning-rate", 3, "--patience", 1, "--keep", "best", "--ema-decay", 1e-6)
    flags = (*flags, "--dtype", "bfloat16")
    done = command("train_ae.py", "--data", "digits", *flags, "--batch-size", 700, "--run-dir", tmp_path / "run")
    assert done.status == 0, done.err
    tests = {line["epoch"]: line for line in recorded(tmp_path / "run") if "test_cost" in line}
    best = tests[3]["best_epoch"]
    assert best == 2
    assert f"test set: {tests[best]['test_cost']:.2f} nats per image" in done.err
    assert f") after epoch {best}, the best, with the average of the weights\n" in done.err
    assert "\narithmetic: bfloat16 in the layers, forward and backward; float32 in weights, " in done.err
    train = load_run(tmp_path / "run")[0].train
    assert (train.patience, train.keep, train.ema_decay) == (1, "best", 1e-6)
