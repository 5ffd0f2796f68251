"""A model in training: its compiled program, its examples and its state, on the devices."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, Num

from jaxae.network.parameters import Parameters
from jaxae.training.best import better_of
from jaxae.training.course import CONSTANT, Course
from jaxae.training.placement import init_state, put_examples, put_many_states, put_plan
from jaxae.training.plan import Plan, part_of
from jaxae.training.program import Program
from jaxae.training.state import Examples, Hyperparameters, Metrics, TrainState
from jaxae.training.step import evaluate, evaluate_many, train_many_steps, train_steps


@dataclass
class Trainer:
    """Feeds plans to the compiled step of one model, or of many that train side by side.

    Attributes:
        program: The program that trains; for many models its mesh is one of `divide_by_models`.
        state: The state as the last step left it; for many models with a leading axis.
        examples: The training set on the program's devices; None where it is streamed.
        hyperparameters: Learning rate, beta and the like; for many models one of each.
        course: Course of the learning rate and of beta over the steps; by default both are constant.
    """

    program: Program
    state: TrainState
    examples: Examples | None
    hyperparameters: Hyperparameters
    course: Course = CONSTANT

    @classmethod
    def start(
        cls,
        program: Program,
        parameters: Parameters | Sequence[Parameters],
        split: tuple[Num[np.ndarray, "n ..."], Int[np.ndarray, " n"]] | None,
        hyperparameters: Hyperparameters,
        course: Course = CONSTANT,
        *,
        keep_best: bool = False,
        ema_decay: float | None = None,
    ) -> "Trainer":
        """A training before its first step, from the parameters of one model or of many; streamed, of no split."""
        start = partial(init_state, program, keep_best=keep_best, ema_decay=ema_decay)
        if isinstance(parameters, dict):
            state = start(parameters)
        else:
            state = put_many_states(program, [start(one) for one in parameters])
        examples = None if split is None else put_examples(program, *split)
        return cls(program, state, examples, hyperparameters, course)

    @property
    def of_many(self) -> bool:
        """Whether many models train side by side."""
        return self.state.step.ndim > 0

    def place(self, plan: Plan, begin: int = 0, length: int | None = None) -> Plan:
        """A plan, or the `length` steps of it from `begin` on, on the program's devices."""
        part = plan if length is None else part_of(plan, begin, length)
        return put_plan(self.program, part)

    def take(self, placed: Plan, until: int | None = None, examples: Examples | None = None) -> Metrics:
        """Take the steps of a placed plan up to (without) its row `until`, or all, on the training set or on examples.

        The metrics are those of `train_steps`; they may be read later, while the devices go on.
        """
        train = train_many_steps if self.of_many else train_steps
        num_steps = placed.order.shape[-2]
        until = num_steps if until is None else until
        hyperparameters = self.course.at(
            self.hyperparameters, int(placed.first_step), num_steps, self.program.float_dtype
        )
        best, state = self.state.best, self.state._replace(best=None)
        examples = self.examples if examples is None else examples
        assert examples is not None  # a streamed training brings them
        state, metrics = train(state, examples, placed, until, hyperparameters, program=self.program)
        self.state = state._replace(best=best)
        return metrics

    def evaluate(self, examples: Examples, placed: Plan) -> Metrics:
        """Mean cost, reconstruction and KL over a placed plan's examples, in nats per image."""
        run = evaluate_many if self.of_many else evaluate
        beta = self.hyperparameters.beta
        return run(self.state.used, examples, placed, beta, program=self.program)

    def keep_better(self, test: Metrics, epoch: int, patience: int) -> None:
        """Keep the parameters as they are, if their test cost is the best so far; see `better_of`."""
        if self.state.best is not None:
            best = better_of(self.state.best, self.state.used, jnp.asarray(test.cost), epoch, patience)
            self.state = self.state._replace(best=best)
