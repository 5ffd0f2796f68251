"""Mutations: deliberate mistakes on one side of a pair, each of which must fail a rung."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import jax
import torch
import torch.nn.functional as F

import torch_ref
from jaxae.parity.pair import Cost, Pair, TorchBatch
from jaxae.parity.settings import check_name

Mutation = Callable[[Pair], Pair]


def perturbed_weight(pair: Pair) -> Pair:
    """One element of one bias off by a ten-thousandth of the largest weight beside it."""
    model = copy.deepcopy(pair.reference)
    layer = model.linear_2 if not pair.is_vae else model.z_mean
    with torch.no_grad():
        layer.bias[1] += 1e-4 * layer.weight.abs().max()
    return replace(pair, reference=model)


def reshaped_kernel(pair: Pair) -> Pair:
    """A linear kernel reshaped to the other framework's shape where it ought to be transposed."""
    layer = "linear_2" if not pair.is_vae else "z_mean"
    kernel = pair.parameters[layer]["kernel"]
    return _with_kernel(pair, layer, kernel.T.reshape(kernel.shape))


def swapped_axes(pair: Pair) -> Pair:
    """Height and width of a convolution's kernel exchanged."""
    kernel = pair.parameters["enc_conv_2"]["kernel"]
    return _with_kernel(pair, "enc_conv_2", kernel.swapaxes(0, 1))


def dropped_kl(pair: Pair) -> Pair:
    """A cost without the KL term."""
    return replace(pair, cost=_cost_with(lambda mean, log_var: 0.0 * mean.sum()))


def averaged_kl(pair: Pair) -> Pair:
    """The KL term as a mean over latent dimensions where it ought to be a sum."""
    kl = torch_ref.kl_divergence
    return replace(pair, cost=_cost_with(lambda mean, log_var: kl(mean, log_var) / mean.shape[1]))


def autodiff_bce(pair: Pair) -> Pair:
    """The cross-entropy's formula with its own derivative instead of torch's."""

    def cost(model: Any, batch: TorchBatch) -> torch.Tensor:
        p, t = model(batch.images), batch.images
        log_p, log_q = torch.log(p).clamp(min=-100), torch.log1p(-p).clamp(min=-100)
        return -(t * log_p + (1 - t) * log_q).mean()

    return replace(pair, cost=cost)


def eps_inside_root(pair: Pair) -> Pair:
    """Adam that adds eps to the second moment rather than to its root."""
    rate = pair.config.train.learning_rate
    return replace(pair, optimizer=lambda parameters: _WrongAdam(parameters, rate))


def uncorrected_moments(pair: Pair) -> Pair:
    """Adam without the correction of its moments' bias towards zero."""
    rate = pair.config.train.learning_rate
    return replace(pair, optimizer=lambda parameters: _WrongAdam(parameters, rate, False))


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


def _cost_with(kl: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Cost:
    def cost(model: Any, batch: TorchBatch) -> torch.Tensor:
        mean, log_var, _, decoded = model(batch.images, batch.labels, batch.eps)
        target = torch_ref.reconstruction_target(model, batch.images, batch.labels)
        return kl(mean, log_var) + F.binary_cross_entropy(decoded, target, reduction="sum")

    return cost


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
                    zeros = torch.zeros_like(leaf)
                    state.update(step=0, exp_avg=zeros, exp_avg_sq=zeros.clone())
                state["step"] += 1
                first, second = state["exp_avg"], state["exp_avg_sq"]
                first.lerp_(leaf.grad, 0.1)
                second.mul_(0.999).addcmul_(leaf.grad, leaf.grad, value=0.001)
                if self._corrected:
                    m, v = first / (1 - 0.9 ** state["step"]), second / (1 - 0.999 ** state["step"])
                    leaf.sub_(group["lr"] * m / torch.sqrt(v + 1e-8))
                else:
                    leaf.sub_(group["lr"] * first / (second.sqrt() + 1e-8))
