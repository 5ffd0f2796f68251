"""What a batch costs: a device's examples of a step, their noise, the two terms of their cost."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt32

from jaxae.config import AutoencoderConfig, VAEConfig
from jaxae.network.feature_major import pixels
from jaxae.network.losses import (
    bce_from_logits,
    bce_from_probabilities,
    kl_from_standard_normal,
    kl_of_dimensions,
    negative_elbo,
)
from jaxae.network.models import Autoencoder, Model, with_parameters
from jaxae.network.parameters import Parameters
from jaxae.network.pixel_cost import DecodedPixels, pixel_cost
from jaxae.network.vae import VAEOutput
from jaxae.training.placement import sum_over_devices
from jaxae.training.plan import Plan
from jaxae.training.program import Program
from jaxae.training.runtime import DATA_AXIS
from jaxae.training.state import Examples


class ExampleNoise(NamedTuple):
    """What belongs to each example of a step: noise of its code, and a key for draws of its pixels."""

    eps: Float[Array, "*steps batch latent"]
    key: Key[Array, "*steps batch"] | UInt32[Array, "*steps batch 2"] | None


class Batch(NamedTuple):
    """A device's examples of a step: what the network is shown, and what it is to reconstruct."""

    shown: Float[Array, "batch ..."]
    target: Float[Array, "batch ..."]
    labels: Int[Array, " batch"]
    eps: Float[Array, "batch latent"]
    weight: Float[Array, " batch"]


def noise_of_steps(
    program: Program, plan: Plan, steps: Int[Array, " steps"], order: Int[Array, "steps batch"]
) -> ExampleNoise:
    """The noise of this device's examples of each step: given, or drawn from the plan's key."""
    if plan.noise.eps is not None:
        return ExampleNoise(jnp.asarray(plan.noise.eps), None)
    key = plan.noise.key
    assert key is not None
    here = jax.lax.axis_index(DATA_AXIS) * order.shape[1] + jnp.arange(order.shape[1])
    return jax.vmap(lambda step: draw_noise(program, jax.random.fold_in(key, step), here))(steps)


def draw_noise(program: Program, key: Key[Array, ""], identity: Int[Array, " batch"]) -> ExampleNoise:
    """Noise that depends on the key and an example's identity alone, on whichever device it is."""
    keys = jax.vmap(partial(jax.random.fold_in, key))(identity)
    eps = jnp.zeros((len(identity), 0))
    if program.num_latent:
        eps = jax.vmap(partial(jax.random.normal, shape=(program.num_latent,)))(keys)
    if program.corrupt is None and not program.binarize:
        return ExampleNoise(eps, None)
    # Folded once more, so that the pixels' draws and the code's noise are independent.
    return ExampleNoise(eps, jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys))


def take_batch(program: Program, data: Examples, row: Int[Array, " batch"], noise: ExampleNoise) -> Batch:
    """This device's examples of a step, with the noise that belongs to them."""
    index = jnp.maximum(row, 0)
    dtype = program.float_dtype
    shape = data.images.shape[1:]
    if isinstance(program.model, AutoencoderConfig) and program.corrupt is None:
        shape = (math.prod(shape),)
    # Flat rows are gathered in half the time that images take.
    flat = data.images.reshape(len(data.labels), -1)[index]
    target = pixels(flat, shape).astype(dtype)
    if program.binarize:
        assert noise.key is not None
        own = jax.vmap(lambda key: jax.random.fold_in(key, 1))(noise.key)
        target = jax.vmap(jax.random.bernoulli)(own, target).astype(dtype)
    shown = target
    if program.corrupt is not None:
        assert noise.key is not None
        shown = jax.vmap(program.corrupt)(noise.key, target)
    eps = noise.eps.astype(dtype)
    return Batch(shown, target, data.labels[index], eps, (row >= 0).astype(dtype))


def summed_cost(
    program: Program,
    parameters: Parameters,
    batch: Batch,
    beta: Float[Array, ""] | float,
    free_bits: Float[Array, ""] | float | None = None,
) -> tuple[Float[Array, ""], Float[Array, " terms"]]:
    """The cost summed over examples, and the sums of its terms in nats: reconstruction, KL.

    With free bits, a third is the KL divergence as the cost has it.
    """
    compute = jnp.dtype(program.dtype)
    cast = partial(jax.tree.map, lambda leaf: leaf.astype(compute))
    model = with_parameters(program.model, cast(parameters))
    terms = _terms(program, model, batch, compute, free_bits)
    cost = (batch.weight * negative_elbo(terms[0], terms[-1], beta)).sum()
    return cost, jnp.stack([batch.weight * term for term in terms]).sum(1)


def _terms(
    program: Program, model: Model, batch: Batch, compute: np.dtype, free_bits: Float[Array, ""] | float | None
) -> tuple[Float[Array, " batch"], ...]:
    """Reconstruction cost and KL divergence of each example, in nats; with free bits, the KL that counts too."""
    dtype = program.float_dtype
    shown, target = batch.shown.astype(compute), batch.target
    counted: tuple[Array, ...] = ()
    if isinstance(model, Autoencoder):
        output = model(shown)
        target = target.reshape(len(target), -1)
        kl = jnp.zeros(len(target), dtype)
    else:
        label = batch.labels if model.config.num_classes else None
        output = model(shown, label, eps=batch.eps.astype(compute))
        kl = kl_from_standard_normal(output.mean.astype(dtype), output.log_var.astype(dtype))
        if free_bits is not None:
            each = kl_of_dimensions(output.mean.astype(dtype), output.log_var.astype(dtype))
            counted = (_with_free_bits(program, each, batch.weight, free_bits),)
        if model.config.num_output_channels > model.config.image_shape[2]:
            planes = jax.nn.one_hot(label, model.config.num_classes, dtype=dtype)
            shape = (*target.shape[:3], model.config.num_classes)
            planes = jnp.broadcast_to(planes[:, None, None, :], shape)
            target = jnp.concatenate([target, planes], axis=-1)
    logits = output.logits.astype(dtype)
    if isinstance(output, VAEOutput) and output.log_scale is not None:
        assert isinstance(program.model, VAEConfig)
        pixels = DecodedPixels(logits, output.log_scale.astype(dtype))
        return pixel_cost(program.model, pixels, target), kl, *counted
    if program.from_probabilities:
        return bce_from_probabilities(output.reconstruction.astype(dtype), target), kl, *counted
    return bce_from_logits(logits, target), kl, *counted


def _with_free_bits(
    program: Program,
    kl: Float[Array, "batch latent"],
    weight: Float[Array, " batch"],
    free_bits: Float[Array, ""] | float,
) -> Float[Array, " batch"]:
    """KL divergence of each example in which a dimension counts as no less than the free bits.

    The batch's mean is the sum over dimensions of max(free bits, mean KL over the whole batch): the objective with free
    bits of Kingma et al. 2016 (arXiv:1606.04934), a dimension being a group.
    """
    sums = sum_over_devices(program, jnp.append((weight[:, None] * kl).sum(0), weight.sum()))
    # Which dimensions are below is of the batch, not of a device: each device adds up its own examples of them.
    below = jax.lax.stop_gradient(sums[:-1] < free_bits * sums[-1])
    return jnp.where(below[None], free_bits, kl).sum(1)
