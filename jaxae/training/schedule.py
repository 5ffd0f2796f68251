"""Who decides initial weights, batch order and noise: JAX keys, or torch's random stream replayed.

A schedule hands out a plan for each epoch. A training that is given the same plans takes the same steps, in either
framework and on any number of devices.
"""

from typing import Literal, Protocol, runtime_checkable

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float32, Int32

from jaxae.config import ModelConfig, RunConfig, VAEConfig
from jaxae.network.models import build, init_parameters
from jaxae.network.parameters import Parameters, parameters_of
from jaxae.torch_rng.generator import Generator
from jaxae.training.plan import Noise, Plan, batches


@runtime_checkable
class Schedule(Protocol):
    """Decides a training's initial weights, order and noise; made for one model and one data set.

    A plan is the same whenever it is asked for, so that a training resumes at any epoch.
    """

    def init_parameters(self) -> Parameters:
        """Fresh parameters of the schedule's model."""
        ...

    def plan(self, epoch: int) -> Plan:
        """The plan of an epoch, counted from 0."""
        ...


class KeySchedule:
    """Draws weights and noise from `jax.random.key(seed)`, the order from NumPy's generator."""

    def __init__(self, seed: int, num_examples: int, batch_size: int, *, model: ModelConfig):
        self._model = model
        self._seed = seed
        self._num_examples = num_examples
        self._batch_size = batch_size
        self._init_key, self._noise_key = jax.random.split(jax.random.key(seed))

    def init_parameters(self) -> Parameters:
        """Fresh parameters of the schedule's model."""
        return init_parameters(self._model, self._init_key)

    def plan(self, epoch: int) -> Plan:
        """The plan of an epoch, counted from 0."""
        # A permutation of 60,000 takes 33 ms in JAX on a CPU, 1 ms in NumPy.
        order = np.random.default_rng([self._seed, epoch]).permutation(self._num_examples)
        order = batches(order, self._batch_size)
        return Plan(order, Noise.drawn(self._noise_key), epoch * len(order))


class TorchSchedule:
    """Draws everything from torch's CPU stream after `manual_seed(seed)`, as the post's script.

    The stream is consumed in the script's order: the model's parameters; then, each epoch, the DataLoader's draws;
    then each batch's noise. DataLoader draws a base seed for workers first. Under torch 1.x the permutation then
    comes from the same stream; since, a seed is drawn, and the permutation comes from a second stream
    (torch/utils/data/sampler.py, `RandomSampler`).
    """

    def __init__(
        self, seed: int, num_examples: int, batch_size: int, *, loader: Literal["torch-1", "torch"], model: ModelConfig
    ):
        self._num_examples = num_examples
        self._batch_size = batch_size
        self._loader = loader
        self._num_latent = model.num_latent if isinstance(model, VAEConfig) else 0
        self._generator = Generator(seed)
        network = build(model, rngs=nnx.Rngs(0))
        network.reset_parameters(self._generator)
        self._parameters = parameters_of(network)
        self._epoch_starts = [self._generator.clone()]

    def init_parameters(self) -> Parameters:
        """Fresh parameters of the schedule's model."""
        return self._parameters

    def plan(self, epoch: int) -> Plan:
        """The plan of an epoch, counted from 0; epochs before it are drawn through where unseen."""
        while len(self._epoch_starts) < epoch + 1:
            generator = self._epoch_starts[-1].clone()
            self._draw(generator)
            self._epoch_starts.append(generator)
        generator = self._epoch_starts[epoch].clone()
        order, noise = self._draw(generator)
        if len(self._epoch_starts) == epoch + 1:
            self._epoch_starts.append(generator)
        return Plan(order, Noise.given(noise), epoch * len(order))

    def _draw(
        self, generator: Generator
    ) -> tuple[Int32[np.ndarray, "steps batch"], Float32[np.ndarray, "steps batch latent"]]:
        generator.random_(1)
        if self._loader == "torch-1":
            order = generator.randperm(self._num_examples)
        else:
            seed = int(generator.random_(1)[0])
            order = Generator(seed).randperm(self._num_examples)
        order = batches(order, self._batch_size)
        noise = np.zeros((*order.shape, self._num_latent), np.float32)
        if self._num_latent:
            # One call per batch: torch draws normals in blocks of 16, which restart with each call.
            for index, row in enumerate(order):
                count = int((row >= 0).sum())
                noise[index, :count] = generator.randn(count, self._num_latent)
        return order, noise


def make_schedule(config: RunConfig, num_examples: int) -> Schedule:
    """The schedule that a configuration asks for, over a training set of this size."""
    train = config.train
    if train.replay == "no":
        return KeySchedule(train.seed, num_examples, train.batch_size, model=config.model)
    return TorchSchedule(train.seed, num_examples, train.batch_size, loader=train.replay, model=config.model)
