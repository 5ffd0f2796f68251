"""`ResNet` of tests.translation.zoo, translated from PyTorch to Flax NNX.

torch 2.13.0, flax 0.12.8, jax 0.10.2.
proven in float64, with random parameters:
  inference: results: 2e-16
  inference: outputs of 56 layers and blocks: 2e-15
  inference: gradients of 41 layers: 3e-15
  inference: gradients of inputs: 3e-16
  inference: cost: 1e-16
  training, another batch: results: 9e-15
  training, another batch: outputs of 56 layers and blocks: 2e-14
  training, another batch: gradients of 41 layers: 3e-14
  training, another batch: gradients of inputs: 1e-14
  20 steps of Adam: parameters of 41 layers: 2e-13
  training, another batch: running means of 20 layers: 2e-15
  20 steps of Adam: costs: 2e-15
  training, another batch: running variances of 20 layers, but for n / (n - 1): 2e-12
"""

import jax
import jax.numpy as jnp
from flax import nnx


class BasicBlock(nnx.Module):
    """`BasicBlock` of tests.translation.zoo."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        downsample: bool = False,
        strides: int = 1,
        rngs: nnx.Rngs,
    ):
        self.conv1 = nnx.Conv(
            in_features,
            out_features,
            kernel_size=(3, 3),
            strides=strides,
            padding=1,
            use_bias=False,
            rngs=rngs,
        )
        self.bn1 = nnx.BatchNorm(out_features, momentum=0.9, rngs=rngs)
        self.conv2 = nnx.Conv(
            out_features,
            out_features,
            kernel_size=(3, 3),
            padding=1,
            use_bias=False,
            rngs=rngs,
        )
        self.bn2 = nnx.BatchNorm(out_features, momentum=0.9, rngs=rngs)
        self.downsample = (
            nnx.Sequential(
                nnx.Conv(
                    in_features,
                    out_features,
                    kernel_size=(1, 1),
                    strides=strides,
                    padding=0,
                    use_bias=False,
                    rngs=rngs,
                ),
                nnx.BatchNorm(out_features, momentum=0.9, rngs=rngs),
            )
            if downsample
            else None
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        out = nnx.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        identity = x if self.downsample is None else self.downsample(x)
        out = out + identity
        return nnx.relu(out)


class ResNet(nnx.Module):
    """`ResNet` of tests.translation.zoo."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(
            3, 4, kernel_size=(7, 7), strides=2, padding=3, use_bias=False, rngs=rngs
        )
        self.bn1 = nnx.BatchNorm(4, momentum=0.9, rngs=rngs)
        self.layer1 = nnx.Sequential(*[BasicBlock(4, 4, rngs=rngs) for _ in range(2)])
        self.layer2 = nnx.Sequential(
            BasicBlock(4, 8, downsample=True, strides=2, rngs=rngs),
            BasicBlock(8, 8, rngs=rngs),
        )
        self.layer3 = nnx.Sequential(
            BasicBlock(8, 16, downsample=True, strides=2, rngs=rngs),
            BasicBlock(16, 16, rngs=rngs),
        )
        self.layer4 = nnx.Sequential(
            BasicBlock(16, 32, downsample=True, strides=2, rngs=rngs),
            BasicBlock(32, 32, rngs=rngs),
        )
        self.fc = nnx.Linear(32, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = jnp.moveaxis(x, 1, -1)  # (n, 32, 32, 3)
        x2 = nnx.max_pool(
            jnp.pad(
                nnx.relu(self.bn1(self.conv1(x))),
                ((0, 0), (1, 1), (1, 1), (0, 0)),
                constant_values=-jnp.inf,
            ),
            (3, 3),
            strides=(2, 2),
        )
        x2 = self.layer4(self.layer3(self.layer2(self.layer1(x2))))
        x = x2.mean(axis=(1, 2), keepdims=True).reshape(x.shape[0], -1)  # (n, 32)
        return self.fc(x)
