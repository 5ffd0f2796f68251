"""Rungs of the losses: values and gradients against torch's functions, saturation included."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F

import torch_ref
from jaxae.network import losses
from jaxae.parity.cases import Precision
from jaxae.parity.gap import measure
from jaxae.parity.rung_result import RungResult
from jaxae.parity.tolerance import FORWARD

BETA = 0.3


def loss_rows(dtype: Precision) -> Iterator[RungResult]:
    """The cross-entropy in both forms (sum and mean), the KL divergence and the beta-ELBO."""
    rng = np.random.default_rng(0)
    shape = (5, 7, 3)
    targets = rng.uniform(size=shape).astype(dtype)
    targets[:2] = targets[:2] > 0.5
    inner = rng.uniform(0.01, 0.99, shape).astype(dtype)
    # From well inside the clamp of the logarithms and of the gradient to the very ends.
    tiny = np.array([0, 1e-45, 1e-30, 1e-13, 1e-9, 1e-5, 0.5], dtype)
    ends = np.broadcast_to(np.concatenate([tiny, 1 - tiny])[None, :, None], (5, 14, 3)).copy()
    at_ends = rng.uniform(size=ends.shape).astype(dtype)
    at_ends[:2] = at_ends[:2] > 0.5
    logits = rng.uniform(-6, 6, shape).astype(dtype)
    logits[0, :, 0] = [-200, -90, -30, 0, 30, 90, 200]

    def row(rung: str, got: dict, wanted: dict) -> RungResult:
        return RungResult("losses", rung, dtype, measure(got, wanted), FORWARD[dtype])

    bce = F.binary_cross_entropy
    form = losses.bce_from_probabilities
    for name, p, t in (("", inner, targets), (", saturated", ends, at_ends)):
        got = _value_and_slopes(lambda p, t=t: form(p, jnp.asarray(t)).sum(), p)
        wanted = _torch_side(lambda p, t=t: bce(p, torch.from_numpy(t), reduction="sum"), p)
        yield row(f"BCE from probabilities, sum{name}", got, wanted)
    got = _value_and_slopes(lambda p: form(p, jnp.asarray(targets)).mean() / 21, inner)
    wanted = _torch_side(lambda p: bce(p, torch.from_numpy(targets)), inner)
    yield row("BCE from probabilities, mean", got, wanted)

    stable = F.binary_cross_entropy_with_logits
    got = _value_and_slopes(lambda x: losses.bce_from_logits(x, jnp.asarray(targets)).sum(), logits)
    wanted = _torch_side(lambda x: stable(x, torch.from_numpy(targets), reduction="sum"), logits)
    yield row("BCE from logits, sum", got, wanted)

    mean, log_var = rng.standard_normal((2, 5, 4)).astype(dtype)
    got = _value_and_slopes(lambda m, v: losses.kl_from_standard_normal(m, v).sum(), mean, log_var)
    wanted = _torch_side(torch_ref.kl_divergence, mean, log_var)
    yield row("KL divergence, sum", got, wanted)

    def elbo(m: jax.Array, v: jax.Array, p: jax.Array) -> jax.Array:
        reconstruction = form(p, jnp.asarray(targets))
        return losses.negative_elbo(reconstruction, losses.kl_from_standard_normal(m, v), BETA).sum()

    got = _value_and_slopes(elbo, mean, log_var, inner)
    wanted = _torch_side(
        lambda m, v, p: torch_ref.cvae_cost(m, v, p, torch.from_numpy(targets), BETA), mean, log_var, inner
    )
    yield row(f"beta-ELBO, beta {BETA}", got, wanted)


def _value_and_slopes(function: Callable[..., jax.Array], *arguments: np.ndarray) -> dict[str, Any]:
    positions = tuple(range(len(arguments)))
    value, slopes = jax.value_and_grad(function, positions)(*map(jnp.asarray, arguments))
    return {"value": value} | {f"slope {index}": slope for index, slope in enumerate(slopes)}


def _torch_side(function: Callable[..., torch.Tensor], *arguments: np.ndarray) -> dict[str, Any]:
    leaves = [torch.from_numpy(array.copy()).requires_grad_() for array in arguments]
    value = function(*leaves)
    value.backward()
    return {"value": value} | {f"slope {index}": leaf.grad for index, leaf in enumerate(leaves)}
