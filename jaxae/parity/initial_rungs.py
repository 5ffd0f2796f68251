"""Rungs before any step: initial weights, and codes drawn by each framework's own noise."""

import math
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from jaxtyping import Float

import torch_ref
from jaxae.network.models import build, init_parameters
from jaxae.network.parameters import Parameters, named_leaves, parameters_of
from jaxae.network.vae import VAE
from jaxae.parity.gap import Gap, measure
from jaxae.parity.pair import Feed, Pair
from jaxae.parity.rung_result import RungResult
from jaxae.port.reference import reference_module
from jaxae.torch_rng.generator import Generator

DRAWS = 64
# Elements of a tensor in each draw: enough to see a bound off by a few per cent, cheap to sort.
ELEMENTS = 256
# Codes of each example of a batch of 8 or more: a deviation off by five per cent is seen.
CODES = 1024
# Kolmogorov's limit law exceeds 3 with probability 2 exp(-18) = 3e-8.
CRITICAL = 3.0
_NOTE = "Kolmogorov-Smirnov distance; relative: to chance"

Array = TypeVar("Array", np.ndarray, jax.Array)


def initialisation_row(pair: Pair) -> RungResult:
    """Fresh parameters drawn from JAX's keys against torch's, tensor by tensor, in distribution.

    Elements of both layouts are pooled over many models; a tensor's elements are alike.
    """
    config = pair.config.model

    @jax.jit
    def sample(keys: jax.Array) -> Parameters:
        return jax.lax.map(lambda key: jax.tree.map(_some, init_parameters(config, key)), keys)

    pooled = named_leaves(jax.device_get(sample(jax.random.split(jax.random.key(1), DRAWS))))
    torch.manual_seed(1)
    references = [dict(reference_module(pair.config.model).named_parameters()) for _ in range(DRAWS)]
    worst = Gap(0.0, 0.0)
    for path, (name, _) in pair.patterns.items():
        values = [_some(torch_draw[name].detach().numpy()) for torch_draw in references]
        gap = _kolmogorov_smirnov(pooled[path].reshape(-1), np.concatenate(values), name)
        worst = max(worst, gap, key=lambda gap: gap.max_rel)
    return RungResult(pair.name, "initial distributions", "float32", worst, CRITICAL, _NOTE)


def _some(values: Array) -> Array:
    """At most twice ELEMENTS of a tensor, spread over it."""
    return values.reshape(-1)[:: max(1, values.size // ELEMENTS)]


def replayed_weights_row(pair: Pair, *, seed: int = 123) -> RungResult:
    """Initial weights of a replay against torch's after `manual_seed`, bit for bit.

    The autoencoder's normals pass through logarithm and cosine, which vector units round by their
    own rules: 4 units in the last place are allowed.
    """
    torch.manual_seed(seed)
    expected = reference_module(pair.config.model).state_dict()
    network = build(pair.config.model, rngs=nnx.Rngs(0))
    network.reset_parameters(Generator(seed))
    gap = measure(pair.named(jax.device_get(parameters_of(network))), expected)
    return RungResult(pair.name, "initial weights, replayed", "float32", gap, 0.0 if pair.is_vae else 5e-7)


def own_noise_row(pair: Pair, feed: Feed) -> RungResult:
    """Codes of one batch where each framework draws its own eps, in distribution.

    A code less its mean over its deviation is standard normal, whatever the batch.
    """
    batch = pair.batch(feed, 0)
    twin = pair.twin
    assert isinstance(twin, VAE)
    assert isinstance(pair.reference, torch_ref.VariationalAutoencoder)
    with torch.no_grad():
        mean, log_var, _ = pair.reference.encoder(batch.images, batch.labels)
        torch.manual_seed(2)
        codes = [pair.reference.reparameterize(mean, log_var).numpy() for _ in range(CODES)]
    means, log_vars = (jnp.asarray(array.numpy()) for array in (mean, log_var))

    @jax.jit
    def draw(key: jax.Array) -> jax.Array:
        eps = jax.random.normal(key, (CODES, *means.shape), means.dtype)
        return jax.vmap(twin.reparameterize, (None, None, 0))(means, log_vars, eps)

    center, deviation = mean.numpy(), np.exp(log_var.numpy() / 2)
    standard = [((np.asarray(side) - center) / deviation).ravel() for side in (draw(jax.random.key(2)), codes)]
    return pair.result("codes of own noise", _kolmogorov_smirnov(*standard, name="code"), CRITICAL, note=_NOTE)


def _kolmogorov_smirnov(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " m"], name: str) -> Gap:
    """Largest distance of the two empirical distribution functions; relative to chance, times sqrt(nm / (n + m))."""
    first, second = np.sort(first), np.sort(second)
    points = np.concatenate([first, second])
    below = [np.searchsorted(x, points, side="right") / len(x) for x in (first, second)]
    distance = float(np.abs(below[0] - below[1]).max())
    size = len(first) * len(second) / (len(first) + len(second))
    return Gap(distance, distance * math.sqrt(size), name)
