"""Copies of torch networks."""

import copy

from torch import Tensor, nn


def copied(module: nn.Module) -> nn.Module:
    """A deep copy, also of a network that has run and holds what it computed, as torch's older weight norms do.

    `copy.deepcopy` refuses tensors that have a history; here they are copied without it.
    """
    computed = {
        id(tensor): tensor.detach().clone()
        for one in module.modules()
        for tensor in vars(one).values()
        if isinstance(tensor, Tensor) and tensor.grad_fn is not None
    }
    return copy.deepcopy(module, computed)
