"""The JAX contenders, in a process of their own."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from jaxae.bench.contenders import find
from jaxae.bench.jax_device import JaxDevice, configure
from jaxae.bench.problem import PRESETS, read
from jaxae.bench.runner import Task, TimedRunner
from jaxae.config import ConditionalVAEConfig
from jaxae.training.placement import init_state, put_examples, put_many_states, put_plan
from jaxae.training.plan import Noise, Plan, part_of, stack_plans
from jaxae.training.program import Program
from jaxae.training.runtime import divide_by_models, make_mesh, set_xla_flags
from jaxae.training.state import Hyperparameters, Metrics
from jaxae.training.trainer import Trainer


class JaxRunner(JaxDevice):
    """Steps of jaxae's own training, as its users run them."""

    def __init__(self, task: Task):
        contender = find(task.contender)
        self.whole_epochs = contender.whole_epoch
        set_xla_flags()
        shared = (task.devices or task.threads) if contender.all_devices else 1
        configure(task.device, cpu_devices=shared, tf32=task.tf32)
        problem = read(task.problem)
        steps, batch_size = problem.order.shape
        devices = task.devices if contender.all_devices else 1
        mesh = make_mesh(device=task.device, devices=devices, batch_size=batch_size, models=task.models)
        super().__init__(mesh, task.dtype)
        self.epoch_steps = steps
        if task.models > 1:
            mesh = divide_by_models(mesh, task.models)
        config = PRESETS[task.model].model
        if isinstance(config, ConditionalVAEConfig):
            config = replace(config, lowering=contender.lowering)
        self._program = Program(config, mesh, task.dtype, from_probabilities=contender.bce == "probabilities")
        self._parameters = unflatten_dict(problem.flax, sep=".")
        self._examples = put_examples(self._program, problem.images, problem.labels)
        self._models = task.models
        self._hyperparameters = Hyperparameters(task.learning_rate, task.beta)
        if task.models > 1:
            self._hyperparameters = jax.tree.map(lambda value: jnp.full(task.models, value), self._hyperparameters)
        given = self._put(problem.order, Noise.given(problem.noise))
        drawn = self._put(problem.order, Noise.drawn(jax.random.key(0))) if task.drawn_noise else given
        self._plans = {True: given, False: drawn}

    def reset(self, *, given_noise: bool) -> None:
        """Put back the initial weights, with a fresh optimizer."""
        state = init_state(self._program, self._parameters)
        if self._models > 1:
            state = put_many_states(self._program, [state] * self._models)
        self._trainer = Trainer(self._program, state, self._examples, self._hyperparameters)
        self._plan = self._plans[given_noise]
        self._step = 0
        self._costs: list[tuple[Metrics, int]] = []

    def run(self, steps: int) -> None:
        """Take steps from the first batch on."""
        self._costs = []
        while steps:
            taken = min(steps, self.epoch_steps)
            if self.whole_epochs:
                self._advance(self._plan[0], taken)
            else:
                for plan in self._plan[:taken]:
                    self._advance(plan, 1)
            steps -= taken

    def wait(self) -> None:
        """Return when all steps have ended."""
        jax.block_until_ready((self._trainer.state, self._costs))

    def costs(self, count: int) -> list[float]:
        """Costs of the last steps."""
        if (np.asarray(self._trainer.state.step) != self._step).any():
            raise ArithmeticError("a cost or gradient was not finite")
        costs = [np.atleast_2d(metrics.cost)[0, :taken] for metrics, taken in self._costs[-count:]]
        return np.concatenate(costs)[-count:].tolist()

    def _put(self, order: np.ndarray, noise: Noise) -> list[Plan]:
        """The epoch's plan, or, for a runner that goes step by step, one plan a step."""
        epoch = Plan(order, noise, 0)
        length = len(order) if self.whole_epochs else 1
        plans = [part_of(epoch, begin, length) for begin in range(0, len(order), length)]
        if self._models > 1:
            # The same batches and noise for all.
            plans = [stack_plans([plan] * self._models) for plan in plans]
        return [put_plan(self._program, plan) for plan in plans]

    def _advance(self, plan: Plan, until: int) -> None:
        metrics = self._trainer.take(plan._replace(first_step=self._step), until)
        self._costs.append((metrics, until))
        self._step += until


HANDLERS = {"describe": JaxRunner.describe, **TimedRunner(JaxRunner).handlers}
