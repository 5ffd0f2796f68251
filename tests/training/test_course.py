"""The learning rate from step to step: closed forms, optax's schedules, and trainings that have one."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxae import AUTOENCODER, InputError, fit, fit_many, load
from jaxae.config import TrainConfig, read_config
from jaxae.data.dataset import Dataset, Split
from jaxae.training.course import CONSTANT, Course, course_of
from jaxae.training.runtime import make_mesh
from jaxae.training.state import Hyperparameters, hyperparameters_of

SMALL = AUTOENCODER.replace(epochs=3, batch_size=16, hidden=(3,), grad_clip_norm=0.01, weight_decay=0.1)
COSINE = SMALL.replace(schedule="cosine", warmup_steps=4)


@pytest.fixture(scope="module")
def data() -> Dataset:
    digits = load("digits")
    return Dataset("digits", Split(*(a[:40] for a in digits.train)), Split(*(a[:20] for a in digits.test)), 10)


@pytest.mark.parametrize(
    ("course", "shares"),
    [
        (Course("constant", 4, 8), [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]),
        (Course("linear", 0, 4), [1, 0.75, 0.5, 0.25]),
        (Course("linear", 2, 6), [0, 0.5, 1, 0.75, 0.5, 0.25]),
        (Course("cosine", 0, 4), [1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5]),
        (Course("cosine", 1, 3), [0, 1, 0.5]),
    ],
)
def test_the_shares_of_the_learning_rate_are_the_closed_form(course, shares):
    np.testing.assert_allclose(course.shares(np.arange(len(shares))), shares, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("course", "theirs"),
    [
        (Course("cosine", 0, 50), optax.cosine_decay_schedule(0.3, 50)),
        (Course("cosine", 7, 50), optax.warmup_cosine_decay_schedule(0, 0.3, 7, 50)),
        (Course("linear", 0, 50), optax.linear_schedule(0.3, 0, 50)),
        (Course("constant", 7, 50), optax.linear_schedule(0, 0.3, 7)),
    ],
)
def test_the_learning_rates_are_those_of_optax(course, theirs):
    ours = course.at(Hyperparameters(0.3, 1.0), 5, 45, np.dtype("float32")).learning_rate
    assert np.asarray(ours).dtype == np.float32
    # optax computes in float32: measured 6e-8 of the largest.
    np.testing.assert_allclose(ours, jax.vmap(theirs)(np.arange(5, 50)), rtol=0, atol=0.3 * 5e-7)


def test_models_side_by_side_have_a_course_each():
    many = Hyperparameters(jnp.array([1.0, 2.0]), 1.0)
    rates = Course("linear", 0, 4).at(many, 2, 2, np.dtype("float32")).learning_rate
    np.testing.assert_array_equal(rates, [[0.5, 0.25], [1.0, 0.5]])


def test_a_constant_course_leaves_one_number_for_all_steps():
    own = Hyperparameters(0.3, 1.0)
    assert CONSTANT.at(own, 5, 45, np.dtype("float32")) == own
    assert course_of(AUTOENCODER, 300) == Course("constant", 0, 10)


def test_a_run_with_a_course_resumes_to_its_bits(data, tmp_path):
    """A signal's checkpoint lies in the middle of the warm-up; chunks are of other sizes."""

    def log(line: str) -> None:
        if line.startswith("Epoch: 001/003 | Batch 001"):
            raise BrokenPipeError("nobody reads this")

    whole = fit(COSINE, data, run_dir=tmp_path / "whole", log_every=3)
    with pytest.raises(BrokenPipeError):
        fit(COSINE, data, run_dir=tmp_path / "parts", log_every=1, log=log)
    parts = fit(COSINE, data, run_dir=tmp_path / "parts", log_every=3, resume=True)
    jax.tree.map(np.testing.assert_array_equal, whole.state, parts.state)
    other = fit(COSINE.replace(schedule="linear"), data, log_every=3)
    kernels = [result.state.parameters["linear_1"]["kernel"] for result in (whole, other)]
    assert not np.array_equal(*kernels)


def test_a_configuration_s_numbers_reach_the_step():
    assert hyperparameters_of(SMALL) == Hyperparameters(0.005, 1.0, 0.01, 0.1)
    assert hyperparameters_of(AUTOENCODER) == Hyperparameters(0.005, 1.0, None, None)


def test_more_epochs_are_another_training_where_the_course_has_an_end(data, tmp_path):
    fit(COSINE.replace(epochs=0), data, run_dir=tmp_path / "run")
    with pytest.raises(InputError, match=r"expected the settings of .* to resume it, got others: epochs is 4, was 0"):
        fit(COSINE.replace(epochs=4), data, run_dir=tmp_path / "run", resume=True)


def test_a_run_of_before_these_settings_is_resumed(data, tmp_path):
    plain = AUTOENCODER.replace(epochs=0, batch_size=16, hidden=(3,))
    fit(plain, data, run_dir=tmp_path / "run")
    document = json.loads((tmp_path / "run" / "config.json").read_text())
    for field in dataclasses.fields(TrainConfig):
        if field.default is not dataclasses.MISSING:
            del document["train"][field.name]
    (tmp_path / "run" / "config.json").write_text(json.dumps(document))
    assert read_config(tmp_path / "run" / "config.json") == plain
    with pytest.warns(UserWarning, match="no checkpoint in .* yet"):
        fit(plain, data, run_dir=tmp_path / "run", resume=True)


def test_many_models_have_the_settings_of_one(data):
    mesh = make_mesh(devices=1)
    many = fit_many(COSINE, data, seeds=[3, 4], learning_rates=[0.01, 0.02], mesh=mesh)
    alone = fit(COSINE.replace(seed=4, learning_rate=0.02), data, mesh=mesh)
    own = jax.tree.map(lambda leaf: leaf[1], many.parameters)
    # Equal to the bit when measured.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), own, alone.state.parameters)


@pytest.mark.parametrize(
    "change", [{"grad_clip_norm": 1.0}, {"weight_decay": 0.1}, {"schedule": "cosine"}, {"warmup_steps": 1}]
)
def test_a_replay_has_plain_adam(change):
    (name,) = change
    with pytest.raises(InputError, match=rf"expected no {name} in a replay, which has .*plain Adam, got "):
        AUTOENCODER.replace(replay="torch", **change)


def test_a_warmup_longer_than_the_training_is_refused(data):
    with pytest.raises(InputError, match="expected fewer warm-up steps than the 9 steps of the training, got 9"):
        fit(COSINE.replace(warmup_steps=9), data)


def test_the_flags_are_settings(command, tmp_path):
    flags = ("--grad-clip-norm", 2, "--weight-decay", 0.5, "--schedule", "linear", "--warmup-steps", 3)
    ended = command(
        "train_ae.py", "--data", "digits", "--epochs", 0, "--hidden", 2, "--run-dir", tmp_path / "run", *flags
    )
    assert ended.status == 0, ended.err
    train = read_config(tmp_path / "run" / "config.json").train
    assert (train.grad_clip_norm, train.weight_decay, train.schedule, train.warmup_steps) == (2, 0.5, "linear", 3)
