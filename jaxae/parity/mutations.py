"""Mutations: deliberate mistakes on one side of a pair, each of which must fail a rung.

A pair without the part that the mistake is in (a KL term, a convolution) is left as it is.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import torch

from jaxae.parity.pair import Pair, TorchBatch, vae_cost
from jaxae.parity.settings import check_name

Mutation = Callable[[Pair], Pair]


def perturbed_weight(pair: Pair) -> Pair:
    """One element of one bias off by a ten-thousandth of the largest weight beside it."""
    pair = pair.copied()
    layer, weights = "z_mean" if pair.is_vae else "linear_2", dict(pair.reference.named_parameters())
    with torch.no_grad():
        weights[f"{layer}.bias"][1] += 1e-4 * weights[f"{layer}.weight"].abs().max()
    return pair


def reshaped_kernel(pair: Pair) -> Pair:
    """A linear kernel reshaped to the other framework's shape where it ought to be transposed."""
    layer = "z_mean" if pair.is_vae else "linear_2"
    kernel = pair.parameters[layer]["kernel"]
    return _with_kernel(pair, layer, kernel.T.reshape(kernel.shape))


def swapped_axes(pair: Pair) -> Pair:
    """Height and width of a convolution's kernel exchanged."""
    if not pair.is_vae:
        return pair
    kernel = pair.parameters["enc_conv_2"]["kernel"]
    return _with_kernel(pair, "enc_conv_2", kernel.swapaxes(0, 1))


def dropped_kl(pair: Pair) -> Pair:
    """A cost without the KL term."""
    return replace(pair, cost=partial(vae_cost, beta=0.0)) if pair.is_vae else pair


def averaged_kl(pair: Pair) -> Pair:
    """The KL term as a mean over latent dimensions where it ought to be a sum."""
    return replace(pair, cost=partial(vae_cost, beta=1 / pair.program.num_latent)) if pair.is_vae else pair


def autodiff_bce(pair: Pair) -> Pair:
    """The cross-entropy's formula with its own derivative instead of torch's."""

    def cost(model: Any, batch: TorchBatch) -> torch.Tensor:
        p, t = model(batch.images), batch.images
        log_p, log_q = torch.log(p).clamp(min=-100), torch.log1p(-p).clamp(min=-100)
        return -(t * log_p + (1 - t) * log_q).mean()

    return pair if pair.is_vae else replace(pair, cost=cost)


def eps_inside_root(pair: Pair) -> Pair:
    """Adam that adds eps to the second moment rather than to its root."""
    return replace(pair, optimizer=partial(_WrongAdam, rate=pair.config.train.learning_rate))


def uncorrected_moments(pair: Pair) -> Pair:
    """Adam without the correction of its moments' bias towards zero."""
    return replace(pair, optimizer=partial(_WrongAdam, rate=pair.config.train.learning_rate, corrected=False))


MUTATIONS: dict[str, Mutation] = {
    "perturbed-weight": perturbed_weight,
    "reshaped-kernel": reshaped_kernel,
    "swapped-axes": swapped_axes,
    "dropped-kl": dropped_kl,
    "averaged-kl": averaged_kl,
    "autodiff-bce": autodiff_bce,
    "eps-inside-root": eps_inside_root,
    "uncorrected-moments": uncorrected_moments,
}


def mutation_of(name: str) -> Mutation:
    """The mutation of a name.

    Raises:
        InputError: If there is none.
    """
    check_name("a mutation", name, MUTATIONS)
    return MUTATIONS[name]


def _with_kernel(pair: Pair, layer: str, kernel: jax.Array) -> Pair:
    changed = {**pair.parameters[layer], "kernel": kernel}
    return replace(pair, parameters={**pair.parameters, layer: changed})


class _WrongAdam(torch.optim.Optimizer):
    """Adam with its common defaults, and a mistake."""

    def __init__(self, parameters: Iterable[torch.Tensor], rate: float, corrected: bool = True):
        super().__init__(parameters, {"lr": rate})
        self._corrected = corrected

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for leaf in group["params"]:
                state = self.state[leaf]
                if not state:
                    state.update(step=0, exp_avg=torch.zeros_like(leaf), exp_avg_sq=torch.zeros_like(leaf))
                state["step"] += 1
                first, second = state["exp_avg"], state["exp_avg_sq"]
                first.lerp_(leaf.grad, 0.1)
                second.mul_(0.999).addcmul_(leaf.grad, leaf.grad, value=0.001)
                if self._corrected:
                    m, v = first / (1 - 0.9 ** state["step"]), second / (1 - 0.999 ** state["step"])
                    leaf.sub_(group["lr"] * m / torch.sqrt(v + 1e-8))
                else:
                    leaf.sub_(group["lr"] * first / (second.sqrt() + 1e-8))
