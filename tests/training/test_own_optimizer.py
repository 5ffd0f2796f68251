"""Optimizers of optax in Adam's place: their steps, their checkpoints, and what is refused beside them."""

import jax
import numpy as np
import optax
import pytest
from test_step import OffTheCPU

from jaxae import AUTOENCODER, InputError, fit, load
from jaxae.data.dataset import Dataset, Split
from jaxae.network.models import init_parameters
from jaxae.training.plan import Noise, Plan
from jaxae.training.program import program_of
from jaxae.training.runtime import make_mesh
from jaxae.training.state import hyperparameters_of
from jaxae.training.trainer import Trainer

CONFIG = AUTOENCODER.replace(epochs=3, batch_size=16, hidden=(3,), learning_rate=0.05, seed=1)
CHAIN = optax.chain(optax.clip_by_global_norm(0.05), optax.sgd(optax.linear_schedule(5.0, 0.5, 9), momentum=0.9))


@pytest.fixture(scope="module")
def data() -> Dataset:
    digits = load("digits")
    return Dataset("digits", Split(*(a[:40] for a in digits.train)), Split(*(a[:20] for a in digits.test)), 10)


@pytest.fixture(scope="module")
def whole(data):
    return fit(CONFIG, data, optimizer=CHAIN)


def assert_equal(first, second) -> None:
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("devices", "off_the_cpu"), [(2, False), (1, True)])
def test_adam_of_optax_takes_the_steps_of_ours(devices, off_the_cpu):
    config = CONFIG.replace(dtype="float64", grad_clip_norm=0.05, weight_decay=0.1, ema_decay=0.9)
    plain = config.replace(grad_clip_norm=None, weight_decay=0.0)
    train, mesh = load("digits").train, make_mesh(device="cpu", devices=devices)
    own = optax.chain(optax.clip_by_global_norm(0.05), optax.adamw(0.05, weight_decay=0.1))
    order = np.random.default_rng(0).integers(0, 50, (6, 8)).astype(np.int32)
    states = []
    for one, optimizer in ((config, None), (plain, own)):
        program = program_of(one, mesh, optimizer=optimizer)
        program = OffTheCPU.like(program) if off_the_cpu else program
        start = init_parameters(one.model, jax.random.key(0))
        split = (train.images[:50], train.labels[:50])
        trainer = Trainer.start(program, start, split, hyperparameters_of(one), ema_decay=0.9)
        placed = trainer.place(Plan(order, Noise.drawn(jax.random.key(1)), 0))
        for until in (4, 6):
            trainer.take(placed, until)
        states.append(trainer.state)
    assert int(states[1].step) == 6
    for name in ("parameters", "used"):
        both = [jax.tree.leaves(getattr(state, name)) for state in states]
        for one, other in zip(*both, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("where", ["Epoch: 002/003 | Batch 001", "Epoch: 003/003 | Batch 000"])
def test_resuming_is_as_if_never_stopped(where, data, whole, tmp_path):
    def log(line: str) -> None:
        if line.startswith(where):
            raise BrokenPipeError("nobody reads this")

    with pytest.raises(BrokenPipeError):
        fit(CONFIG, data, run_dir=tmp_path / "run", log=log, log_every=1, optimizer=CHAIN)
    for other in (None, optax.lion(0.1)):
        with pytest.raises(InputError, match=r"^expected the model and optimizer that .* with, got others: optimizer/"):
            fit(CONFIG, data, run_dir=tmp_path / "run", resume=True, optimizer=other)
    resumed = fit(CONFIG, data, run_dir=tmp_path / "run", resume=True, optimizer=CHAIN)
    assert_equal(resumed.state, whole.state)


def test_a_step_that_is_refused_changes_nothing(data):
    images = data.train.images / np.float32(255)
    images[7] = np.nan
    program = program_of(CONFIG, make_mesh(devices=1), optimizer=CHAIN)
    start = init_parameters(CONFIG.model, jax.random.key(0))
    order = np.array([[1, 2], [3, 4], [7, 5], [6, 8]], np.int32)
    states = []
    for until in (2, 4):
        trainer = Trainer.start(program, start, (images, data.train.labels), hyperparameters_of(CONFIG))
        trainer.take(trainer.place(Plan(order, Noise.drawn(jax.random.key(1)), 0)), until)
        states.append(trainer.state)
    assert_equal(*states)
    assert int(states[1].step) == 2


@pytest.mark.parametrize(
    "change",
    [{"grad_clip_norm": 1.0}, {"weight_decay": 0.1}, {"schedule": "cosine"}, {"warmup_steps": 1}, {"replay": "torch"}],
)
def test_what_the_optimizer_has_itself_is_refused(change, data):
    (name,) = change
    what = "optimizer in a replay" if name == "replay" else f"{name} beside an optimizer"
    with pytest.raises(InputError, match=f"^expected no {what}, which has "):
        fit(CONFIG.replace(**change), data, optimizer=CHAIN)
