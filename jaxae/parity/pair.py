"""A pair: one of the post's networks in both frameworks, with the same weights and inputs."""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from flax import nnx
from jaxtyping import Float, Int32, UInt8

import torch_ref
from jaxae.config import Lowering, RunConfig, VAEConfig
from jaxae.data.dataset import Split, load
from jaxae.network.models import Model, build, with_parameters
from jaxae.network.parameters import Parameters, named_leaves, parameters_of
from jaxae.parity.cases import CASES, Precision
from jaxae.parity.gap import Gap, Tensors
from jaxae.parity.rung_result import CONSTANT, RungResult, judge
from jaxae.parity.tolerance import Bound
from jaxae.port import describe, from_torch
from jaxae.port.reference import reference_module
from jaxae.training.program import Program, program_of
from jaxae.training.runtime import make_mesh


class Feed(NamedTuple):
    """Examples with the batches and the noise of some steps, as both frameworks get them."""

    images: UInt8[np.ndarray, "n 28 28 1"]
    labels: Int32[np.ndarray, " n"]
    order: Int32[np.ndarray, "steps batch"]
    noise: Float[np.ndarray, "steps batch latent"]


class TorchBatch(NamedTuple):
    """One step's share of a feed, as torch takes it."""

    images: torch.Tensor
    labels: torch.Tensor | None
    eps: torch.Tensor | None


Cost = Callable[[Any, TorchBatch], torch.Tensor]
MakeOptimizer = Callable[[Iterable[torch.Tensor]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Pair:
    """A network of `torch_ref` and its twin, about to be compared.

    Everything that torch does is a field, so that a negative control can put something wrong into
    its place: torch runs eagerly, and no compiled program can hide the change.

    Attributes:
        dtype: Dtype in which both compute.
        reference: Torch module.
        parameters: Parameters of the twin, ported from the torch module.
        program: Compiled training step of the twin, with torch's form of the cross-entropy.
        patterns: Name in torch and einops pattern to torch's axes, by the dotted name of each of
            the twin's parameters.
    """

    name: str
    config: RunConfig
    dtype: Precision
    reference: torch.nn.Module
    parameters: Parameters
    program: Program
    cost: Cost
    optimizer: MakeOptimizer
    patterns: Mapping[str, tuple[str, str]]

    @property
    def twin(self) -> Model:
        """The JAX side as a module."""
        return with_parameters(self.config.model, self.parameters)

    @property
    def is_vae(self) -> bool:
        """Whether there is a code to draw, and a KL term."""
        return isinstance(self.config.model, VAEConfig)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype in torch's terms."""
        return getattr(torch, self.dtype)

    def copied(self, dtype: Precision | None = None) -> "Pair":
        """The pair with a torch network of its own to be trained, in this dtype where one is given."""
        own = replace(self, dtype=dtype or self.dtype)
        return replace(own, reference=copy.deepcopy(self.reference).to(own.torch_dtype))

    def pictures(self, digits: UInt8[np.ndarray, "n 28 28 1"]) -> UInt8[np.ndarray, "n h w c"]:
        """Digits as images that the network takes: their middle, in each further channel moved aside and darker."""
        model = self.config.model
        height, width, channels = model.image_shape if isinstance(model, VAEConfig) else digits.shape[1:]
        top, left = (28 - height) // 2, (28 - width) // 2
        planes = [np.roll(digits, 2 * k, 2) // (k + 1) for k in range(channels)]
        return np.concatenate(planes, -1)[:, top : top + height, left : left + width]

    def batch(self, feed: Feed, step: int) -> TorchBatch:
        """What torch is given at a step."""
        rows = feed.order[step][feed.order[step] >= 0]
        # Copied, where one channel would keep strides of channels last, by which torch convolves otherwise.
        images = np.moveaxis(self.pictures(feed.images[rows]), -1, 1).copy()
        pixels = torch_ref.to_float(torch.from_numpy(images)).to(self.torch_dtype)
        if not self.is_vae:
            return TorchBatch(pixels.flatten(1), None, None)
        labels = torch.from_numpy(feed.labels[rows].astype(np.int64))
        eps = torch.from_numpy(feed.noise[step][: len(rows)]).to(self.torch_dtype)
        return TorchBatch(pixels, labels if self.reference.num_classes else None, eps)

    def result(self, rung: str, gap: Gap, tolerance: float, origin: str = CONSTANT, note: str = "") -> RungResult:
        """The result of a rung that has measured its gap."""
        return RungResult(self.name, rung, self.dtype, gap, tolerance, note, origin)

    def judge(
        self, rung: str, bound: Bound, ours: Tensors, theirs: Tensors, exact: Tensors, note: str = ""
    ) -> RungResult:
        """The result of a rung that holds tensors against torch's, and in float32 against its float64."""
        return judge(self.name, rung, self.dtype, bound, ours, theirs, exact, note)

    def named(self, tree: Parameters) -> dict[str, np.ndarray]:
        """The twin's parameters, or their moments, by torch's names in torch's layout."""
        leaves = named_leaves(tree)
        return {name: rearrange(np.asarray(leaves[path]), pattern) for path, (name, pattern) in self.patterns.items()}


def make_pair(name: str, dtype: Precision, *, seed: int = 0, lowering: Lowering = "auto", devices: int = 1) -> Pair:
    """Both networks of a case, with the weights that torch draws after `manual_seed(seed)`.

    So many of JAX's devices share each batch. float64 needs JAX's x64.
    """
    config = CASES[name].replace(dtype=dtype, replay="torch-1", lowering="auto" if name == "Autoencoder" else lowering)
    torch.manual_seed(seed)
    reference = reference_module(config.model).to(getattr(torch, dtype))
    twin = build(config.model, rngs=nnx.Rngs(0))
    from_torch(twin, reference, flatten="CHW", unflatten="CHW")
    rows = describe(twin, flatten="CHW", unflatten="CHW").rows
    return Pair(
        name,
        config,
        dtype,
        reference,
        parameters_of(twin),
        program_of(config, make_mesh(devices=devices)),
        autoencoder_cost if name == "Autoencoder" else vae_cost,
        partial(torch.optim.Adam, lr=config.train.learning_rate),
        {row.flax: (row.torch, " -> ".join(reversed(row.pattern.split(" -> ")))) for row in rows},
    )


def autoencoder_cost(model: torch.nn.Module, batch: TorchBatch) -> torch.Tensor:
    """The post's cost of the autoencoder, a mean over batch and pixels."""
    return torch_ref.autoencoder_cost(model(batch.images), batch.images)


def vae_cost(model: torch_ref.VariationalAutoencoder, batch: TorchBatch, beta: float = 1.0) -> torch.Tensor:
    """The post's cost of the VAEs, a sum over the batch."""
    mean, log_var, _, decoded = model(batch.images, batch.labels, batch.eps)
    target = torch_ref.reconstruction_target(model, batch.images, batch.labels)
    return torch_ref.cvae_cost(mean, log_var, decoded, target, beta)


def make_feed(*, steps: int, batch_size: int, num_latent: int = 50, seed: int = 0) -> Feed:
    """Batches of digits in a shuffled order, epoch after epoch, with noise; the same each time."""
    return _feed(load("digits").train, steps, batch_size, num_latent, np.random.default_rng(seed))


def make_shifted_feed(*, steps: int, batch_size: int, num_latent: int = 50, seed: int = 0) -> Feed:
    """The same of digits shifted by up to three pixels, of which there are as many as of MNIST's.

    A thousand steps on few examples overfit until the sigmoid saturates, and then amplify a single
    weight's last bit to the size of the weights in torch alone; on many they do not.
    """
    rng = np.random.default_rng(seed)
    digits = load("digits").train
    count = min(steps * batch_size, 60_000)
    chosen = rng.integers(0, len(digits.labels), count)
    shifts = rng.integers(-3, 4, (count, 2))
    rows, columns = ((np.arange(28) - shifts[:, axis, None]) % 28 for axis in (0, 1))
    images = digits.images[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
    shifted = Split(images, digits.labels[chosen])
    return _feed(shifted, steps, batch_size, num_latent, rng)


def _feed(split: Split, steps: int, batch_size: int, num_latent: int, rng: np.random.Generator) -> Feed:
    epochs = -(-steps * batch_size // len(split.labels))
    order = np.concatenate([rng.permutation(len(split.labels)) for _ in range(epochs)])
    order = order[: steps * batch_size].reshape(steps, batch_size).astype(np.int32)
    noise = rng.standard_normal((steps, batch_size, num_latent))
    return Feed(split.images, split.labels, order, noise.astype(np.float32))
