"""The moving average of a training's parameters: what it is, where it is used, and what stays as it was."""

import json

import jax
import numpy as np
import pytest
import torch
from jax.flatten_util import ravel_pytree
from safetensors import safe_open
from test_step import OffTheCPU

from jaxae import AUTOENCODER, InputError, TrainConfig, evaluate_model, fit, fit_many, load, load_run, parameters_of
from jaxae.config import read_config
from jaxae.data.dataset import Dataset, Split
from jaxae.network.models import init_parameters
from jaxae.training.checks import check_training
from jaxae.training.many import load_models, save_many
from jaxae.training.plan import Noise, Plan
from jaxae.training.program import program_of
from jaxae.training.runtime import make_mesh
from jaxae.training.state import hyperparameters_of
from jaxae.training.trainer import Trainer

STEPS, DECAY = 6, 0.8
SMALL = AUTOENCODER.replace(hidden=(3,), dtype="float64", ema_decay=DECAY)
CONFIG = AUTOENCODER.replace(epochs=4, batch_size=16, hidden=(3,), learning_rate=0.05, seed=1, ema_decay=0.7)
ORDER = np.random.default_rng(0).integers(0, 50, (STEPS, 6)).astype(np.int32)


@pytest.fixture(scope="module")
def data() -> Dataset:
    digits = load("digits")
    return Dataset("digits", Split(*(a[:40] for a in digits.train)), Split(*(a[:20] for a in digits.test)), 10)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run that was never stopped, its folder, and the models that its figures would be drawn of."""
    shown: list = []
    folder = tmp_path_factory.mktemp("runs") / "whole"
    result = fit(CONFIG, data, run_dir=folder, after_epoch=lambda model, _: shown.append(flat(parameters_of(model))))
    return result, folder, shown


def flat(parameters) -> np.ndarray:
    return np.asarray(ravel_pytree(parameters)[0])


def assert_equal(first, second) -> None:
    jax.tree.map(np.testing.assert_array_equal, first, second)


def started(*, devices: int = 1, off_the_cpu: bool = False, images=None) -> Trainer:
    program = program_of(SMALL, make_mesh(device="cpu", devices=devices))
    train = load("digits").train
    images = train.images[:50] if images is None else images
    parameters = init_parameters(SMALL.model, jax.random.key(0))
    trainer = Trainer.start(
        OffTheCPU.like(program) if off_the_cpu else program,
        parameters,
        (images, train.labels[:50]),
        hyperparameters_of(SMALL),
        ema_decay=DECAY,
    )
    assert_equal(trainer.state.used, trainer.state.parameters)
    return trainer


def plan_of(first: int, last: int) -> Plan:
    return Plan(ORDER[first:last], Noise.drawn(jax.random.key(1)), first)


@pytest.mark.usefixtures("x64")
def test_the_average_is_that_of_a_loop_and_of_torch():
    trainer = started()
    raw, after = 0.0, []
    theirs = None
    multiply = torch.optim.swa_utils.get_ema_multi_avg_fn(DECAY)
    for step in range(STEPS):
        trainer.take(trainer.place(plan_of(step, step + 1)))
        after.append(flat(trainer.state.parameters))
        raw = DECAY * raw + (1 - DECAY) * after[-1]
        module = torch.nn.Module()
        module.weight = torch.nn.Parameter(torch.from_numpy(after[-1].copy()))
        theirs = theirs or torch.optim.swa_utils.AveragedModel(module, multi_avg_fn=multiply)
        theirs.update_parameters(module)
    assert trainer.state.average is not None
    assert theirs is not None
    weights = DECAY ** np.arange(STEPS)[::-1]
    # Measured: 2e-16.
    np.testing.assert_allclose(flat(trainer.state.average.raw), raw, rtol=0, atol=1e-13)
    np.testing.assert_allclose(flat(trainer.state.used), np.average(after, axis=0, weights=weights), rtol=0, atol=1e-13)
    # torch's begins with the first parameters in place of zeros.
    np.testing.assert_allclose(
        raw + DECAY**STEPS * after[0],
        flat([np.asarray(one.detach()) for one in theirs.module.parameters()]),
        rtol=0,
        atol=1e-13,
    )
    np.testing.assert_allclose(
        flat(started_and_taken(2)), np.average(after, axis=0, weights=weights), rtol=0, atol=1e-13
    )
    np.testing.assert_allclose(
        flat(started_and_taken(1, off_the_cpu=True)), np.average(after, axis=0, weights=weights), rtol=0, atol=1e-13
    )


def started_and_taken(devices: int, *, off_the_cpu: bool = False):
    """The average after two chunks, of a loop of several steps each."""
    trainer = started(devices=devices, off_the_cpu=off_the_cpu)
    for first, last in ((0, 2), (2, STEPS)):
        trainer.take(trainer.place(plan_of(first, last)))
    return trainer.state.used


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("off_the_cpu", [False, True])
def test_a_step_that_is_refused_leaves_the_average_alone(off_the_cpu):
    images = load("digits").train.images[:50] / np.float32(255)
    first = 3
    images[next(one for one in ORDER[first] if one not in ORDER[:first])] = np.nan
    before, after = started(images=images, off_the_cpu=off_the_cpu), started(images=images, off_the_cpu=off_the_cpu)
    before.take(before.place(plan_of(0, STEPS)), first)
    after.take(after.place(plan_of(0, STEPS)))
    assert int(after.state.step) == first
    assert_equal(before.state, after.state)


def test_it_is_what_is_evaluated_shown_and_kept_and_training_does_not_see_it(data, whole):
    result, folder, shown = whole
    plain = fit(CONFIG.replace(ema_decay=None), data)
    assert plain.state.average is None
    assert_equal(plain.state.parameters, result.state.parameters)
    assert_equal(plain.state.optimizer, result.state.optimizer)
    costs = [[line["cost"] for line in one.metrics if "cost" in line] for one in (plain, result)]
    assert costs[0] == costs[1]
    _, kept = load_run(folder)
    for model in (result.model, kept):
        assert_equal(parameters_of(model), result.state.used)
    assert_equal(shown[-1], flat(result.state.used))
    assert np.abs(flat(result.state.used) - flat(result.state.parameters)).max() > 1e-3
    tests = [line["test_cost"] for line in result.metrics if "test_cost" in line]
    assert tests[-1] == pytest.approx(float(evaluate_model(kept, data.test).cost), rel=1e-6)
    with safe_open(folder / "weights.safetensors", "numpy") as file:
        assert "moving average of decay 0.7 at the last epoch" in str(file.metadata())
    assert read_config(folder / "config.json").train.ema_decay == 0.7


def test_the_best_epoch_is_that_of_the_average(data, whole):
    _, _, shown = whole
    result = fit(CONFIG.replace(keep="best"), data)
    tests = [line["test_cost"] for line in result.metrics if "test_cost" in line]
    assert_equal(flat(parameters_of(result.model)), shown[int(np.argmin(tests))])


@pytest.mark.parametrize("where", ["Epoch: 003/004 | Batch 001", "Epoch: 004/004 | Batch 000"])
def test_resuming_is_as_if_never_stopped(where, data, whole, tmp_path):
    result, folder, _ = whole

    def log(line: str) -> None:
        if line.startswith(where):
            raise BrokenPipeError("nobody reads this")

    with pytest.raises(BrokenPipeError):
        fit(CONFIG, data, run_dir=tmp_path / "parts", log=log, log_every=1)
    for other in (0.8, None):
        with pytest.raises(InputError, match=f"others: ema_decay is {other}, was 0.7$"):
            fit(CONFIG.replace(ema_decay=other), data, run_dir=tmp_path / "parts", resume=True)
    resumed = fit(CONFIG, data, run_dir=tmp_path / "parts", resume=True)
    assert_equal(resumed.state, result.state)
    assert (tmp_path / "parts/weights.safetensors").read_bytes() == (folder / "weights.safetensors").read_bytes()


def test_a_run_from_before_there_were_averages_goes_on_without(data, tmp_path):
    config = CONFIG.replace(ema_decay=None)
    fit(config.replace(epochs=1), data, run_dir=tmp_path / "run")
    file = tmp_path / "run/config.json"
    document = json.loads(file.read_text())
    del document["train"]["ema_decay"]
    file.write_text(json.dumps(document))
    resumed = fit(config, data, run_dir=tmp_path / "run", resume=True)
    assert_equal(resumed.state, fit(config, data).state)


@pytest.mark.usefixtures("x64")
def test_models_side_by_side_have_each_their_own(data, tmp_path):
    config, mesh = CONFIG.replace(dtype="float64", keep="best", epochs=2), make_mesh(devices=1)
    many = fit_many(config, data, seeds=[1, 3], mesh=mesh)
    save_many(tmp_path / "many", many, [1, 3])
    for index, (seed, (_, kept)) in enumerate(zip((1, 3), load_models(tmp_path / "many"), strict=True)):
        alone = fit(config.replace(seed=seed), data, mesh=mesh)
        tests = [line["test_cost"] for line in alone.metrics if "test_cost" in line]
        np.testing.assert_allclose(many.test.cost[index], tests, rtol=1e-9)
        for model in (many.model(index), kept):
            # Measured: equal.
            np.testing.assert_allclose(flat(parameters_of(model)), flat(parameters_of(alone.model)), rtol=0, atol=1e-9)


def test_memory_for_it_is_asked_for(data, monkeypatch):
    kept = []
    monkeypatch.setattr("jaxae.training.checks.check_memory", lambda *_, **asked: kept.append(asked["kept"]))
    for change in ({"ema_decay": None}, {}, {"keep": "best"}):
        check_training(CONFIG.replace(**change), data, make_mesh(devices=1))
    assert kept == [0, 1, 2]


def test_no_epochs_keep_the_initial_weights(data):
    result = fit(CONFIG.replace(epochs=0), data)
    assert_equal(parameters_of(result.model), result.state.parameters)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "last epoch"),
        ({"patience": 2}, "best epoch"),
        ({"ema_decay": 0.5, "keep": "best"}, "moving average of decay 0.5 at the best epoch"),
    ],
)
def test_which_weights_are_the_trained_ones_is_told(settings, told):
    assert TrainConfig(epochs=1, batch_size=1, learning_rate=0.1, seed=0, **settings).trained_weights == told


def test_a_replay_has_no_average():
    with pytest.raises(InputError, match=r"expected no ema_decay in a replay, which has .*, got 0.5"):
        AUTOENCODER.replace(replay="torch", ema_decay=0.5)
