"""Small networks in both frameworks, with what their training takes."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from flax import linen, nnx

from jaxae.bench import PairSettings
from jaxae.bench.pair.networks import NetworkPair
from jaxae.port import LinenView

IMAGES = np.random.default_rng(0).normal(size=(8, 2, 5, 4))
LABELS = np.random.default_rng(1).integers(0, 3, 8)
SETTINGS = PairSettings(rounds=2, turn_seconds=0.001, threads=1)


class TorchNet(torch.nn.Module):
    """Statistics of batches, images, and a place at which no graph goes on."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = torch.nn.Conv2d(2, 3, (3, 2)), torch.nn.BatchNorm2d(3)
        self.head = torch.nn.Linear(27, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.norm(self.conv(x)))
        torch._dynamo.graph_break()
        return self.head(x.flatten(1))


class FlaxNet(nnx.Module):
    """The same, channels last."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(3)
        self.conv = nnx.Conv(2, 3, (3, 2), padding="VALID", rngs=rngs)
        self.norm = nnx.BatchNorm(3, momentum=0.9, rngs=rngs)
        self.head = nnx.Linear(27, 3, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        x = jnp.tanh(self.norm(self.conv(x)))
        return self.head(x.transpose(0, 3, 1, 2).reshape(len(x), -1))


def torch_loss(result: Any, images: Any, labels: Any) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(result, labels)


def jax_loss(result: Any, images: Any, labels: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(result, labels).mean()


def square(result: Any, x: Any) -> Any:
    return (result**2).mean()


def sgd(rate: float) -> Any:
    return (lambda parameters: torch.optim.SGD(parameters, rate, momentum=0.9), optax.sgd(rate, momentum=0.9))


PAIR = NetworkPair(
    TorchNet(), FlaxNet(), IMAGES, torch_loss, jax_loss, targets=LABELS, optimizers=sgd(0.1), options={"flatten": "CHW"}
)


class Layer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def layers() -> NetworkPair:
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: Any) -> Any:
            return linen.Dense(3, name="layer")(x)

    ours: Any = nnx.bridge.ToNNX(Net(), rngs=nnx.Rngs(0)).lazy_init(jnp.zeros((2, 4)))
    return NetworkPair(Layer(), ours, (5, 4), square, square)


def linen_net() -> NetworkPair:
    """Images, and a call of one's own, in a Linen module that has no variables yet."""

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: Any, scale: float) -> Any:
            x = jnp.tanh(scale * linen.Conv(3, (3, 2), padding="VALID", name="conv")(x))
            return linen.Dense(3, name="head")(x.transpose(0, 3, 1, 2).reshape(len(x), -1))

    return replace(PAIR, torch_module=_without_norm(), nnx_module=Net(), nnx_call=lambda module, x: module(x, 1.0))


def function_net() -> NetworkPair:
    """A function of parameters and images."""
    conv: Any = nnx.Conv(2, 3, (3, 2), padding="VALID", rngs=nnx.Rngs(0))
    head: Any = nnx.Linear(27, 3, rngs=nnx.Rngs(0))
    parameters = {
        name: {"kernel": layer.kernel[...], "bias": layer.bias[...]} for name, layer in (("conv", conv), ("head", head))
    }

    view = LinenView(parameters, layers={"conv": linen.Conv(3, (3, 2), padding="VALID")})

    def apply(parameters: Any, x: Any) -> Any:
        window = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(x, parameters["conv"]["kernel"], (1, 1), "VALID", dimension_numbers=window)
        x = jnp.tanh(x + parameters["conv"]["bias"][None, None, None]).transpose(0, 3, 1, 2).reshape(len(x), -1)
        return x @ parameters["head"]["kernel"] + parameters["head"]["bias"][None]

    return replace(PAIR, torch_module=_without_norm(), nnx_module=(apply, view))


def _without_norm() -> TorchNet:
    module: Any = TorchNet()
    module.norm = torch.nn.Identity()
    return module
