"""What goes into a training step and comes out of it."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int32, Num

from jaxae.config import RunConfig
from jaxae.network.parameters import Parameters
from jaxae.training.average import Average, debiased


class Best(NamedTuple):
    """The parameters of the best epoch so far; of many models, each one's own, along a leading axis.

    Attributes:
        parameters: Parameters after that epoch.
        cost: Their test cost in nats per image; infinite before the first epoch.
        epoch: Number of epochs up to there.
    """

    parameters: Parameters
    cost: Float[Array, "*models"]
    epoch: Int32[Array, "*models"]


class TrainState(NamedTuple):
    """What a training goes on from, and a checkpoint holds.

    Attributes:
        parameters: Parameters of the network.
        optimizer: State of Adam, or of the program's own optimizer.
        step: Number of steps taken.
        best: The best epoch so far, where it is kept; steps leave it alone.
        average: Moving average of the parameters, where one is kept; steps do not read it.
    """

    parameters: Parameters
    optimizer: tuple[Any, ...]
    step: Int32[Array, ""]
    best: Best | None = None
    average: Average | None = None

    @property
    def used(self) -> Parameters:
        """Parameters as they are evaluated and shown: their average, where one is kept."""
        return self.parameters if self.average is None else debiased(self.average, self.parameters, self.step)

    @property
    def trained(self) -> Parameters:
        """Parameters that the training has led to: the best of those that were used, where they are kept."""
        return self.used if self.best is None else self.best.parameters


class Hyperparameters(NamedTuple):
    """Numbers that a compiled program takes as arguments; what is None, it has not.

    Attributes:
        learning_rate: Adam's learning rate, of all steps or of each.
        beta: Weight of the KL term, of all steps or of each.
        grad_clip_norm: Largest norm of a step's gradient.
        weight_decay: Decoupled weight decay, a factor of the learning rate.
        free_bits: KL divergence of a latent dimension, in nats, that a step's cost does not go below.
    """

    learning_rate: Float[Array, "*models_steps"] | float
    beta: Float[Array, "*models_steps"] | float
    grad_clip_norm: Float[Array, "*models"] | float | None = None
    weight_decay: Float[Array, "*models"] | float | None = None
    free_bits: Float[Array, "*models"] | float | None = None


def hyperparameters_of(config: RunConfig) -> Hyperparameters:
    """The numbers of a configuration; its learning rate and beta are the largest of the steps'."""
    train = config.train
    return Hyperparameters(
        train.learning_rate, train.beta, train.grad_clip_norm, train.weight_decay or None, train.free_bits or None
    )


class Examples(NamedTuple):
    """A split on the devices: uint8 images, or floats in [0, 1]; class labels."""

    images: Num[Array, "n ..."] | Num[np.ndarray, "n ..."]
    labels: Int32[Array, " n"] | Int32[np.ndarray, " n"]


class Metrics(NamedTuple):
    """The cost as trained on, free bits and all, and its terms in nats per image, the mean over the batch.

    The cost of the plain autoencoder is the mean over batch and pixels, that of the VAE the sum over the batch: as
    the post has them.
    """

    cost: Float[Array, "*steps"] | Float[np.ndarray, "*steps"]
    reconstruction: Float[Array, "*steps"] | Float[np.ndarray, "*steps"]
    kl: Float[Array, "*steps"] | Float[np.ndarray, "*steps"]
