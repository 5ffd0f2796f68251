"""The JAX contenders, in a process of their own."""

import importlib.metadata
import time
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.bench.contenders import find
from jaxae.bench.problem import PRESETS, read
from jaxae.bench.runner import FrameworkInfo, Task, TimedRunner
from jaxae.bench.worker import serve
from jaxae.config import ConditionalVAEConfig
from jaxae.network.parameters import Parameters
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
        mesh = make_mesh(
            device=task.device,
            devices=task.devices if contender.all_devices else 1,
            batch_size=problem.order.shape[1],
            models=task.models,
        )
        self.devices = mesh.size
        if task.models > 1:
            mesh = divide_by_models(mesh, task.models)
        config = PRESETS[task.model].model
        if isinstance(config, ConditionalVAEConfig):
            config = replace(config, lowering=contender.lowering)
        self._program = Program(config, mesh, task.dtype, from_probabilities=contender.bce == "probabilities")
        self._parameters = _nested(problem.flax)
        self._examples = put_examples(self._program, problem.images, problem.labels)
        self._models = task.models
        self._hyperparameters = Hyperparameters(task.learning_rate, task.beta)
        if task.models > 1:
            self._hyperparameters = Hyperparameters(*(jnp.full(task.models, value) for value in self._hyperparameters))
        self.epoch_steps = len(problem.order)
        given = drawn = self._put(problem.order, Noise.given(problem.noise))
        if task.drawn_noise:
            drawn = self._put(problem.order, Noise.drawn(jax.random.key(0)))
        self._plans = {True: given, False: drawn}
        self._dtype = task.dtype

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
            if not self.whole_epochs:
                for plan in self._plan[:taken]:
                    self._advance(plan, 1)
            else:
                self._advance(self._plan[0], taken)
            steps -= taken

    def wait(self) -> None:
        """Return when all steps have ended."""
        jax.block_until_ready((self._trainer.state, self._costs))

    def costs(self, count: int) -> list[float]:
        """Costs of the last steps."""
        if (np.asarray(self._trainer.state.step) != self._step).any():
            raise ArithmeticError("a cost or gradient was not finite")
        chunks = [np.asarray(metrics.cost) for metrics, _ in self._costs[-count:]]
        first = [chunk if chunk.ndim == 1 else chunk[0] for chunk in chunks]
        taken = [taken for _, taken in self._costs[-count:]]
        costs = [chunk[:steps] for chunk, steps in zip(first, taken, strict=True)]
        return np.concatenate(costs)[-count:].tolist()

    def compilations(self) -> int:
        """Programs compiled so far."""
        return self._compiled

    def device_memory(self) -> int | None:
        """Peak bytes on the devices; None on a CPU."""
        device = self._program.mesh.devices.flat[0]
        if device.platform == "cpu":
            return None
        return sum(d.memory_stats()["peak_bytes_in_use"] for d in self._program.mesh.devices.flat)

    def multiply(self, size: int) -> float:
        """Seconds of one matrix product."""
        dtype = jnp.bfloat16 if self._dtype == "bfloat16" else jnp.float32
        a, b = (
            jax.device_put(np.random.default_rng(i).random((size, size), np.float32)).astype(dtype) for i in range(2)
        )
        product = _product(a, b).block_until_ready()
        begun = time.perf_counter()
        product = _product(a, b)
        product.block_until_ready()
        return time.perf_counter() - begun

    @staticmethod
    def describe(device: str) -> FrameworkInfo:
        """Versions and device; InputError where the device is not there."""
        if device == "cpu":
            jax.config.update("jax_platforms", "cpu")
        set_xla_flags()
        mesh = make_mesh(device=device)
        names = ("jax", "jaxlib", "flax", "optax", "numpy")
        versions = {name: importlib.metadata.version(name) for name in names}
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
    precision = "tensorfloat32" if task.tf32 else "highest"
    jax.config.update("jax_default_matmul_precision", precision)


def _nested(flat: dict[str, np.ndarray]) -> Parameters:
    nested: Parameters = {}
    for name, array in flat.items():
        layer, leaf = name.split(".")
        nested.setdefault(layer, {})[leaf] = array
    return nested


def main() -> None:
    """Answer the benchmark's questions."""
    serve(TimedRunner(JaxRunner).handlers)
