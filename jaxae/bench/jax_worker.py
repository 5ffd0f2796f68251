"""The JAX contenders, in a process of their own."""

import importlib.metadata
import time
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from jaxae.bench.contenders import find
from jaxae.bench.problem import PRESETS, read
from jaxae.bench.runner import FrameworkInfo, Task, TimedRunner
from jaxae.config import ConditionalVAEConfig
from jaxae.training.placement import init_state, put_examples, put_many_states, put_plan
from jaxae.training.plan import Noise, Plan, part_of, stack_plans
from jaxae.training.program import Program
from jaxae.training.runtime import divide_by_models, make_mesh, set_xla_flags
from jaxae.training.state import Hyperparameters, Metrics
from jaxae.training.trainer import Trainer


class JaxRunner:
    """Steps of jaxae's own training, as its users run them."""

    def __init__(self, task: Task):
        contender = find(task.contender)
        self.whole_epochs = contender.whole_epoch
        _configure(task)
        self._compiled = 0
        jax.monitoring.register_event_duration_secs_listener(self._count)
        problem = read(task.problem)
        steps, batch_size = problem.order.shape
        devices = task.devices if contender.all_devices else 1
        mesh = make_mesh(device=task.device, devices=devices, batch_size=batch_size, models=task.models)
        self.devices, self.epoch_steps = mesh.size, steps
        if task.models > 1:
            mesh = divide_by_models(mesh, task.models)
        config = PRESETS[task.model].model
        if isinstance(config, ConditionalVAEConfig):
            config = replace(config, lowering=contender.lowering)
        self._program = Program(config, mesh, task.dtype, from_probabilities=contender.bce == "probabilities")
        self._parameters = unflatten_dict(problem.flax, sep=".")
        self._examples = put_examples(self._program, problem.images, problem.labels)
        self._models, self._dtype = task.models, task.dtype
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

    def compilations(self) -> int:
        """Programs compiled so far."""
        return self._compiled

    def device_memory(self) -> int | None:
        """Peak bytes on the devices; None on a CPU."""
        devices = self._program.mesh.devices.flat
        if devices[0].platform == "cpu":
            return None
        return sum(device.memory_stats()["peak_bytes_in_use"] for device in devices)

    def multiply(self, size: int) -> float:
        """Seconds of one matrix product."""
        rng = np.random.default_rng(0)
        a, b = (jnp.asarray(rng.random((size, size), np.float32), self._dtype) for _ in range(2))
        _product(a, b).block_until_ready()
        begun = time.perf_counter()
        _product(a, b).block_until_ready()
        return time.perf_counter() - begun

    @staticmethod
    def describe(device: str) -> FrameworkInfo:
        """Versions and device; InputError where the device is not there."""
        if device == "cpu":
            jax.config.update("jax_platforms", "cpu")
        set_xla_flags()
        mesh = make_mesh(device=device)
        versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy")}
        return FrameworkInfo(versions, mesh.devices.flat[0].device_kind)

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

    def _count(self, event: str, duration_secs: float, **_: Any) -> None:
        self._compiled += event == "/jax/core/compile/backend_compile_duration"


_product = jax.jit(jnp.matmul)


def _configure(task: Task) -> None:
    """Choose devices and arithmetic, before JAX's first operation."""
    if task.device == "cpu":
        jax.config.update("jax_platforms", "cpu")
        set_xla_flags()
        if find(task.contender).all_devices:
            jax.config.update("jax_num_cpu_devices", task.devices or task.threads)
    jax.config.update("jax_default_matmul_precision", "tensorfloat32" if task.tf32 else "highest")


HANDLERS = TimedRunner(JaxRunner).handlers
