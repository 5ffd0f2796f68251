"""Clipped gradients and decoupled weight decay: the compiled step beside optax's chain and torch's AdamW."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from jax.flatten_util import ravel_pytree

from jaxae.config import AUTOENCODER
from jaxae.data.dataset import load
from jaxae.network.models import init_parameters
from jaxae.training.cost import ExampleNoise, summed_cost, take_batch
from jaxae.training.course import Course
from jaxae.training.plan import Noise, Plan
from jaxae.training.program import program_of
from jaxae.training.runtime import make_mesh
from jaxae.training.state import Examples, Hyperparameters
from jaxae.training.trainer import Trainer

STEPS, BATCH, RATE = 6, 5, 0.02
CONFIG = AUTOENCODER.replace(hidden=(3,), dtype="float64", reduction="batch_mean")
COURSE = Course("cosine", 2, 8)
ORDER = np.random.default_rng(0).integers(0, 50, (STEPS, BATCH)).astype(np.int32)


def trained(hyperparameters: Hyperparameters, devices: int = 1) -> np.ndarray:
    """Parameters after six steps of the project's own."""
    program = program_of(CONFIG, make_mesh(device="cpu", devices=devices))
    train = load("digits").train
    start = init_parameters(CONFIG.model, jax.random.key(0))
    trainer = Trainer.start(program, start, (train.images[:50], train.labels[:50]), hyperparameters, COURSE)
    trainer.take(trainer.place(Plan(ORDER, Noise.drawn(jax.random.key(1)), 0)))
    return np.asarray(ravel_pytree(trainer.state.parameters)[0])


@cache
def gradients():
    """The flat parameters at the start, and the gradient of a step at any others."""
    program = program_of(CONFIG, make_mesh(device="cpu", devices=1))
    train = load("digits").train
    start = init_parameters(CONFIG.model, jax.random.key(0))
    flat, unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.asarray(leaf, "float64"), start))
    nothing = ExampleNoise(jnp.zeros((BATCH, 0)), None)
    data = Examples(jnp.asarray(train.images[:50]), jnp.asarray(train.labels[:50]))

    @jax.jit
    def gradient(flat, row):
        batch = take_batch(program, data, row, nothing)
        return jax.grad(lambda one: summed_cost(program, unravel(one), batch, 1.0)[0] / BATCH)(flat)

    return flat, gradient


CASES = {
    "decayed": (None, 0.3),
    "clipped": (0.5, None),
    "both": (0.5, 0.3),
    # The norms are of 9 to 520: some of the steps are clipped.
    "clipped now and then": (20.0, 0.3),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("clip", "decay"), CASES.values(), ids=CASES)
def test_steps_are_those_of_optax_and_torch(clip, decay):
    ours = trained(Hyperparameters(RATE, 1.0, clip, decay))
    flat, gradient = gradients()
    rates = RATE * COURSE.shares(np.arange(STEPS))
    # optax
    adam = optax.adamw(lambda step: jnp.asarray(rates)[step], weight_decay=decay or 0.0)
    chain = optax.chain(optax.clip_by_global_norm(clip), adam) if clip else adam
    theirs: Any = flat
    state, norms = chain.init(flat), []
    for row in ORDER:
        found = gradient(theirs, row)
        norms.append(float(jnp.linalg.norm(found)))
        update, state = chain.update(found, state, theirs)
        theirs = optax.apply_updates(theirs, update)
    # torch
    weights = torch.nn.Parameter(torch.from_numpy(np.array(flat)))
    optimizer = torch.optim.AdamW([weights], lr=RATE, weight_decay=decay or 0.0)
    for row, rate in zip(ORDER, rates, strict=True):
        weights.grad = torch.from_numpy(np.array(gradient(weights.detach().numpy(), row)))
        if clip:
            torch.nn.utils.clip_grad_norm_([weights], clip)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    assert clip is None or min(norms) < 20 < max(norms)
    # Measured: 6e-16 of optax; 5e-9 of torch, whose clip adds 1e-6 to the norm, and 4e-16 without.
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours, weights.detach().numpy(), rtol=0, atol=1e-7 if clip else 1e-12)


@pytest.mark.usefixtures("x64")
def test_the_norm_is_of_the_whole_batch_on_any_number_of_devices():
    one, many = (trained(Hyperparameters(RATE, 1.0, 0.5, 0.3), devices) for devices in (1, 3))
    np.testing.assert_allclose(one, many, rtol=0, atol=1e-12)
