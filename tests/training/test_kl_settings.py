"""Beta's warm-up and free bits: closed forms of the cost, of its gradient, and trainings that have them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxae.config import AUTOENCODER, DENSE_VAE
from jaxae.data.dataset import Dataset, Split, load
from jaxae.errors import InputError
from jaxae.network.losses import bce_from_logits, kl_from_standard_normal, kl_of_dimensions
from jaxae.network.models import init_parameters, with_parameters
from jaxae.training.checks import check_training
from jaxae.training.cost import Batch, summed_cost
from jaxae.training.course import Course, course_of
from jaxae.training.plan import Noise, Plan
from jaxae.training.program import program_of
from jaxae.training.runtime import make_mesh
from jaxae.training.state import Hyperparameters, hyperparameters_of
from jaxae.training.trainer import Trainer

CONFIG = DENSE_VAE.replace(num_latent=5, hidden=(4,), binarize=False, dtype="float64", beta_warmup_epochs=2)
BITS = 0.07
STEPS, BATCH, EXAMPLES = 4, 6, 30
PLAN = Plan(
    np.random.default_rng(0).integers(0, EXAMPLES, (STEPS, BATCH)).astype(np.int32), Noise.drawn(jax.random.key(1)), 0
)
PLAN.order[-1, 4:] = -1


def trainer_of(free_bits: float | None, *, beta: float = 0.5, warmup: int = 0, devices: int = 1) -> Trainer:
    program = program_of(CONFIG, make_mesh(device="cpu", devices=devices))
    train = load("digits").train
    hyperparameters = Hyperparameters(0.01, beta, free_bits=free_bits)
    start = init_parameters(CONFIG.model, jax.random.key(0))
    split = (train.images[:EXAMPLES], train.labels[:EXAMPLES])
    return Trainer.start(program, start, split, hyperparameters, Course(beta_warmup_steps=warmup))


@pytest.mark.usefixtures("x64")
def test_free_bits_are_the_closed_form():
    """The batch's mean of each dimension counts as no less; the gradient is that of this maximum."""
    program = program_of(CONFIG, make_mesh(device="cpu", devices=1))
    images = jnp.asarray(load("digits").train.images[:4] / 255.0)
    eps = jax.random.normal(jax.random.key(2), (4, 5), "float64")
    weight = jnp.array([1.0, 1.0, 1.0, 0.0])
    batch = Batch(images, images, jnp.zeros(4, jnp.int32), eps, weight)
    start = init_parameters(CONFIG.model, jax.random.key(0))
    flat, unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.asarray(leaf, "float64"), start))

    def closed_form(flat):
        model: Any = with_parameters(CONFIG.model, unravel(flat))
        output = model(images, None, eps=eps)
        kl = 0.5 * (output.mean**2 + jnp.exp(output.log_var) - output.log_var - 1)
        means = kl[:3].mean(0)
        reconstruction = bce_from_logits(output.logits, images)[:3].sum()
        return reconstruction + 0.5 * 3 * jnp.maximum(means, BITS).sum(), means

    def ours(flat):
        return summed_cost(program, unravel(flat), batch, 0.5, BITS)

    (expected, means), gradient = jax.jit(jax.value_and_grad(closed_form, has_aux=True))(flat)
    (cost, sums), own = jax.jit(jax.value_and_grad(ours, has_aux=True))(flat)
    assert 0 < (np.asarray(means) < BITS).sum() < 5, means
    np.testing.assert_allclose(cost, expected, rtol=1e-13)
    np.testing.assert_allclose(own, gradient, rtol=0, atol=1e-12 * np.abs(gradient).max())
    np.testing.assert_allclose(sums[1:], [3 * means.sum(), 3 * np.maximum(means, BITS).sum()], rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_free_bits_are_of_the_whole_batch_on_any_number_of_devices():
    one, many, without = trainer_of(BITS), trainer_of(BITS, devices=3), trainer_of(None)
    (metrics, others, plain) = (trainer.take(trainer.place(PLAN)) for trainer in (one, many, without))
    np.testing.assert_allclose(others.cost, metrics.cost, rtol=1e-12)
    np.testing.assert_allclose(*(ravel_pytree(one.state.parameters)[0] for one in (one, many)), rtol=0, atol=1e-12)
    # The cost has them, the KL divergence beside it has not.
    counts = (PLAN.order >= 0).sum(1)
    more = metrics.cost - counts * (metrics.reconstruction + 0.5 * metrics.kl)
    assert more[0] > 0.1  # at first some dimensions are below
    assert (more > -1e-9).all()
    np.testing.assert_allclose(plain.cost, counts * (plain.reconstruction + 0.5 * plain.kl), rtol=1e-12)
    np.testing.assert_allclose(metrics.kl[0], plain.kl[0], rtol=1e-12)
    assert (metrics.kl[1:] != plain.kl[1:]).all()


@pytest.mark.usefixtures("x64")
def test_beta_rises_from_step_to_step():
    warm = trainer_of(None, beta=2.0, warmup=3)
    metrics = warm.take(warm.place(PLAN))
    betas = 2 * np.array([0, 1 / 3, 2 / 3, 1])
    counts = (PLAN.order >= 0).sum(1)
    np.testing.assert_allclose(metrics.cost, counts * (metrics.reconstruction + betas * metrics.kl), rtol=1e-12)
    # Its steps are those of the betas, one after the other.
    steps = trainer_of(None)
    for index, beta in enumerate(betas):
        steps.hyperparameters = Hyperparameters(0.01, float(beta))
        steps.take(steps.place(PLAN, index, 1))
    np.testing.assert_allclose(*(ravel_pytree(one.state.parameters)[0] for one in (warm, steps)), rtol=0, atol=1e-12)
    # An evaluation has the whole beta.
    assert warm.examples is not None
    test = warm.evaluate(warm.examples, warm.place(PLAN))
    np.testing.assert_allclose(test.cost, test.reconstruction + 2 * test.kl, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_the_dimensions_of_the_divergence_add_up_to_it():
    mean, log_var = np.random.default_rng(3).normal(size=(2, 4, 3))
    each = kl_of_dimensions(jnp.asarray(mean), jnp.asarray(log_var))
    np.testing.assert_allclose(each, (mean**2 + np.exp(log_var) - log_var - 1) / 2, rtol=1e-13)
    np.testing.assert_allclose(each.sum(1), kl_from_standard_normal(jnp.asarray(mean), jnp.asarray(log_var)))


def test_the_settings_reach_the_step_and_its_course():
    assert hyperparameters_of(CONFIG.replace(free_bits=0.2)).free_bits == 0.2
    assert hyperparameters_of(CONFIG).free_bits is None
    assert course_of(CONFIG.replace(batch_size=16), 40).beta_warmup_steps == 6


@pytest.mark.parametrize("change", [{"beta_warmup_epochs": 1}, {"free_bits": 0.1}])
def test_an_autoencoder_and_a_replay_have_none(change):
    (name,) = change
    with pytest.raises(InputError, match=f"expected no {name} for the plain autoencoder, which has no KL term, got "):
        AUTOENCODER.replace(**change)
    with pytest.raises(InputError, match=f"expected no {name} in a replay"):
        DENSE_VAE.replace(binarize=False, replay="torch", **change)


def test_a_warmup_of_beta_longer_than_the_training_is_refused():
    digits = load("digits")
    data = Dataset("digits", Split(*(a[:128] for a in digits.train)), Split(*(a[:20] for a in digits.test)), 10)
    check_training(CONFIG.replace(epochs=2), data)
    with pytest.raises(
        InputError, match="expected a warm-up of beta within the 1 epochs of the training, got one of 2"
    ):
        check_training(CONFIG.replace(epochs=1), data)
