"""Rungs of the losses: values and gradients against torch's functions, saturation included."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F

import torch_ref
from jaxae.network import losses
from jaxae.parity.cases import Precision
from jaxae.parity.rung_result import RungResult, judge
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
    mean, log_var = rng.standard_normal((2, 5, 4)).astype(dtype)

    def row(rung: str, ours: Callable[..., jax.Array], theirs: Callable, *arguments: np.ndarray) -> RungResult:
        found = _value_and_slopes(ours, *arguments)
        wanted, exact = (_torch_side(theirs, *(one.astype(kind) for one in arguments)) for kind in (dtype, "float64"))
        return judge("losses", rung, dtype, FORWARD, found, wanted, exact)

    form, from_logits, kl = losses.bce_from_probabilities, losses.bce_from_logits, losses.kl_from_standard_normal
    bce, total = F.binary_cross_entropy, partial(F.binary_cross_entropy, reduction="sum")
    total_of_logits = partial(F.binary_cross_entropy_with_logits, reduction="sum")
    t, same_t = jnp.asarray(targets), torch.from_numpy(targets)
    at, same_at = jnp.asarray(at_ends), torch.from_numpy(at_ends)

    def elbo(m: jax.Array, v: jax.Array, p: jax.Array) -> jax.Array:
        return losses.negative_elbo(form(p, t), kl(m, v), BETA).sum()

    def cost(m: torch.Tensor, v: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        return torch_ref.cvae_cost(m, v, p, same_t.to(p), BETA)

    yield row("BCE from probabilities, sum", lambda p: form(p, t).sum(), lambda p: total(p, same_t.to(p)), inner)
    yield row(
        "BCE from probabilities, sum, saturated", lambda p: form(p, at).sum(), lambda p: total(p, same_at.to(p)), ends
    )
    yield row("BCE from probabilities, mean", lambda p: form(p, t).mean() / 21, lambda p: bce(p, same_t.to(p)), inner)
    yield row(
        "BCE from logits, sum", lambda x: from_logits(x, t).sum(), lambda x: total_of_logits(x, same_t.to(x)), logits
    )
    yield row("KL divergence, sum", lambda m, v: kl(m, v).sum(), torch_ref.kl_divergence, mean, log_var)
    yield row(f"beta-ELBO, beta {BETA}", elbo, cost, mean, log_var, inner)


def _value_and_slopes(function: Callable[..., jax.Array], *arguments: np.ndarray) -> dict[str, Any]:
    value, slopes = jax.value_and_grad(function, tuple(range(len(arguments))))(*map(jnp.asarray, arguments))
    return {"value": value} | {f"slope {index}": slope for index, slope in enumerate(slopes)}


def _torch_side(function: Callable[..., torch.Tensor], *arguments: np.ndarray) -> dict[str, Any]:
    leaves = [torch.from_numpy(array.copy()).requires_grad_() for array in arguments]
    value = function(*leaves)
    value.backward()
    return {"value": value} | {f"slope {index}": leaf.grad for index, leaf in enumerate(leaves)}
