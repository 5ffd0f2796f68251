"""The JAX contenders of a pair."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

from jaxae.bench.case import GATE_STEPS
from jaxae.bench.jax_device import JaxDevice, configure
from jaxae.bench.pair.contenders import find_one
from jaxae.bench.pair.task import PairTask, TakeHalf, handlers_of
from jaxae.bench.runner import Work
from jaxae.errors import InputError
from jaxae.port.trial import twin_in
from jaxae.training.runtime import make_mesh

# Parameters, the optimizer's state and the module's other variables, as a flat list: little to look through per call.
Leaves = list[jax.Array]
Batch = tuple[list[jax.Array], list[jax.Array]]
# What a step gives: the state after it, and its cost, gradients or result.
Given = tuple[Leaves, Any]


class JaxPairRunner(JaxDevice):
    """Steps of a user's NNX module, always on the same inputs."""

    def __init__(self, task: PairTask, take: TakeHalf):
        contender = find_one(task.contender)
        configure(task.device, tf32=task.tf32)
        super().__init__(make_mesh(device=task.device, devices=1), contender.dtype)
        self._half, self._measure = take(task), task.measure
        self.whole_epochs, self.epoch_steps = contender.scan, GATE_STEPS if contender.scan else 1
        module: Any = self._half.module
        self._optimizer: Any = self._half.optimizer
        # The weights stay in float32, whatever the network computes in.
        self._narrow = contender.dtype == "bfloat16"
        computing = twin_in(module, jnp.bfloat16) if self._narrow else module
        for one in (module, computing):
            one.eval() if task.measure == "inference" else one.train()
        _, parameters, _ = nnx.split(module, nnx.Param, ...)
        self._graph, _, rest = nnx.split(computing, nnx.Param, ...)
        state = (parameters, jax.jit(self._optimizer.init)(parameters), rest)
        self._initial, self._tree = jax.tree.flatten(state)
        self._batch: Batch = (list(map(jnp.asarray, self._half.inputs)), list(map(jnp.asarray, self._half.targets)))
        if self._narrow:
            self._check_narrow()
        take = {"step": self._step, "gradients": self._gradients, "inference": self._infer}[task.measure]
        if contender.scan:
            # A batch for each step: one that stays the same may be computed with once, before the loop.
            self._batch = jax.tree.map(lambda one: jnp.stack([one] * GATE_STEPS), self._batch)
            self._program = jax.jit(self._scanned(take), donate_argnums=0 if self._measure == "step" else ())
        else:
            donated = contender.donated and self._measure == "step"
            self._program = jax.jit(take, donate_argnums=0 if donated else ())
        self._last: list[Any] = []

    def reset(self, *, given_noise: bool) -> None:
        """Put back the initial weights, with a fresh optimizer."""
        self._leaves: Leaves = [jnp.copy(leaf) for leaf in self._initial]

    def run(self, steps: int) -> None:
        """Take steps; a program of many is taken whole."""
        calls = -(-steps // self.epoch_steps)
        if self._measure == "step":
            self._last = []
            for _ in range(calls):
                self._leaves, cost = self._program(self._leaves, self._batch)
                self._last.append(cost)
            return
        for _ in range(calls):
            self._last = [self._program(self._leaves, self._batch)]

    def wait(self) -> None:
        """Return when all steps have ended."""
        jax.block_until_ready((self._leaves, self._last))

    def costs(self, count: int) -> list[float]:
        """Costs of the last steps; of inference, the cost of what it gives, of gradients their norm."""
        if self._measure == "step":
            return np.concatenate([np.atleast_1d(one) for one in self._last[-count:]])[-count:].tolist()
        if self._measure == "gradients":
            squares = [np.square(np.asarray(leaf, np.float64)).sum() for leaf in jax.tree.leaves(self._last[0][1])]
            return [float(np.sqrt(sum(squares)))] * count
        inputs, targets = jax.tree.map(lambda one: one[0], self._batch) if self.whole_epochs else self._batch
        return [float(self._cost_of(self._last[0], inputs, targets))] * count

    def work(self) -> Work | None:
        """Floating-point operations and bytes of a step by XLA's count; None where a program is of many steps."""
        if self.whole_epochs:
            return None
        told = self._program.lower(self._leaves, self._batch).compile().cost_analysis() or {}
        return Work(told.get("flops", 0.0), told.get("bytes accessed", 0.0))

    def _scanned(self, take: Any) -> Any:
        """A function of many steps as one program."""
        if self._measure == "step":
            return lambda leaves, batches: lax.scan(take, leaves, batches)

        def run(leaves: Leaves, batches: Batch) -> Any:
            one = jax.tree.map(lambda leaf: leaf[0], batches)
            before = jax.tree.map(_nothing, jax.eval_shape(take, leaves, one))
            last, _ = lax.scan(lambda _, batch: (take(leaves, batch), None), before, batches)
            return last

        return run

    def _step(self, leaves: Leaves, batch: Batch) -> Given:
        parameters, moments, rest = jax.tree.unflatten(self._tree, leaves)
        (cost, rest), gradients = jax.value_and_grad(self._cost, has_aux=True)(parameters, rest, batch)
        updates, moments = self._optimizer.update(gradients, moments, parameters)
        parameters = optax.apply_updates(parameters, updates)
        return jax.tree.leaves((parameters, moments, rest)), cost

    def _gradients(self, leaves: Leaves, batch: Batch) -> Any:
        parameters, _, rest = jax.tree.unflatten(self._tree, leaves)
        return jax.value_and_grad(self._cost, has_aux=True)(parameters, rest, batch)

    def _infer(self, leaves: Leaves, batch: Batch) -> Any:
        parameters, _, rest = jax.tree.unflatten(self._tree, leaves)
        return self._result(parameters, rest, batch[0])[0]

    def _cost(self, parameters: nnx.State, rest: nnx.State, batch: Batch) -> tuple[Any, nnx.State]:
        inputs, targets = batch
        result, rest = self._result(parameters, rest, inputs)
        return self._cost_of(result, inputs, targets), rest

    def _cost_of(self, result: object, inputs: Sequence[jax.Array], targets: Sequence[jax.Array]) -> Any:
        widened = jax.tree.map(lambda leaf: _cast(leaf, jnp.bfloat16, jnp.float32), result)
        return self._half.loss(widened, *inputs, *targets)

    def _result(self, parameters: nnx.State, rest: nnx.State, inputs: Sequence[jax.Array]) -> tuple[Any, nnx.State]:
        """The network's result, and its variables other than parameters after it."""
        if self._narrow:
            parameters, inputs = jax.tree.map(
                lambda leaf: _cast(leaf, jnp.float32, jnp.bfloat16), (parameters, list(inputs))
            )
        # Copied, as what it changes, statistics of batches say, must be of this trace.
        module = nnx.merge(self._graph, parameters, rest, copy=True)
        result = self._half.call(module, *inputs)
        return result, nnx.state(module, nnx.Not(nnx.Param))

    def _check_narrow(self) -> None:
        parameters, _, rest = jax.tree.unflatten(self._tree, self._initial)
        result, _ = jax.eval_shape(self._result, parameters, rest, self._batch[0])
        found = {str(leaf.dtype) for leaf in jax.tree.leaves(result)}
        if "bfloat16" not in found:
            told = ", ".join(sorted(found))
            raise InputError(f"expected results in bfloat16 of weights in bfloat16, got {told}: the network casts them")


def _nothing(leaf: jax.ShapeDtypeStruct) -> jax.Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), leaf.shape)
    return jnp.zeros(leaf.shape, leaf.dtype)


def _cast(leaf: Any, before: Any, after: Any) -> Any:
    return leaf.astype(after) if getattr(leaf, "dtype", None) == before else leaf


HANDLERS = {"describe": JaxPairRunner.describe, **handlers_of(JaxPairRunner)}
