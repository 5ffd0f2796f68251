"""A network of one's own, as a user of `scripts/port_weights.py --model` and `--torch-model` has it."""

from collections import OrderedDict
from typing import TYPE_CHECKING

from flax import nnx

if TYPE_CHECKING:
    import torch


def make() -> nnx.Module:
    """Two channels of convolution, flattened, and a linear layer."""
    rngs = nnx.Rngs(0)
    return nnx.Sequential(
        nnx.Conv(1, 2, (3, 3), rngs=rngs), lambda x: x.reshape(len(x), -1), nnx.Linear(2 * 28 * 28, 3, rngs=rngs)
    )


def make_torch() -> "torch.nn.Module":
    """The same in torch, its first layer under a name of its own."""
    import torch

    parts = (torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(2 * 28 * 28, 3))
    return torch.nn.Sequential(OrderedDict(zip(("front", "1", "2"), parts, strict=True)))
