"""The course of a training: the share of its learning rate, and of beta, that each step has."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxae.config import LearningRateSchedule, RunConfig
from jaxae.training.state import Hyperparameters


@dataclass(frozen=True)
class Course:
    """How the learning rate and beta change from step to step.

    Computed on the host in float64: a step has the same whichever chunk it is taken in, and the compiled program takes
    what it is given.

    Attributes:
        schedule: Course after the warm-up, as in `TrainConfig`.
        warmup_steps: Number of steps in which the learning rate rises from 0.
        total_steps: Number of steps of the whole training.
        beta_warmup_steps: Number of steps in which beta rises from 0.
    """

    schedule: LearningRateSchedule = "constant"
    warmup_steps: int = 0
    total_steps: int = 0
    beta_warmup_steps: int = 0

    def shares(self, steps: Int[np.ndarray, " steps"]) -> Float[np.ndarray, " steps"]:
        """Share of the learning rate that each step has, from 0 to 1; steps are counted from 0.

        Those of `optax.warmup_cosine_decay_schedule` and its like: the first of a warm-up is 0, the one after it 1, and
        0 would be that of the step after the last.
        """
        warm = _rise(steps, self.warmup_steps)
        done = np.clip((steps - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps), 0, 1)
        match self.schedule:
            case "constant":
                return warm
            case "linear":
                return warm * (1 - done)
            case "cosine":
                return warm * 0.5 * (1 + np.cos(np.pi * done))

    def at(self, hyperparameters: Hyperparameters, first_step: int, num_steps: int, dtype: np.dtype) -> Hyperparameters:
        """The numbers of consecutive steps; what is constant is one for all of them, as it comes.

        Args:
            hyperparameters: Numbers of the training, of one model or many.
            first_step: Number of steps taken before.
            num_steps: Number of steps.
            dtype: Dtype of what differs from step to step, [steps] or [models, steps].
        """
        steps = first_step + np.arange(num_steps)
        shares = {}
        if self.schedule != "constant" or self.warmup_steps:
            shares["learning_rate"] = self.shares(steps)
        if self.beta_warmup_steps:
            shares["beta"] = _rise(steps, self.beta_warmup_steps)
        whole = {name: np.asarray(getattr(hyperparameters, name), np.float64) for name in shares}
        each = {name: jnp.asarray(np.multiply.outer(whole[name], shares[name]).astype(dtype)) for name in shares}
        return hyperparameters._replace(**each)


def _rise(steps: Int[np.ndarray, " steps"], length: int) -> Float[np.ndarray, " steps"]:
    """The line from 0 to 1 over so many steps, and 1 after it."""
    return np.minimum(1, steps / length) if length else np.ones(len(steps))


CONSTANT = Course()


def course_of(config: RunConfig, num_examples: int) -> Course:
    """The course of a configuration's training on a training set of this size."""
    train = config.train
    epoch = -(-num_examples // train.batch_size)
    return Course(train.schedule, train.warmup_steps, train.epochs * epoch, train.beta_warmup_epochs * epoch)
