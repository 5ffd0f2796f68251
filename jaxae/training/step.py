"""The compiled training step and evaluation.

A chunk of an epoch is one compiled program: a loop over steps on data that is already on the devices. Every device
takes its share of each batch (`placement.py`), computes what it costs (`cost.py`), and adds its gradient to the
others' as one flat vector. Noise belongs to an example of a step, not to a device, so results do not depend on the
number of devices beyond rounding.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from jaxae.config import AutoencoderConfig
from jaxae.network.fence import fenced
from jaxae.network.losses import negative_elbo
from jaxae.network.parameters import Parameters
from jaxae.training.cost import draw_noise, noise_of_steps, summed_cost, take_batch
from jaxae.training.placement import (
    BY_MODEL,
    WHOLE,
    examples_spec,
    for_each_model,
    on_each_device,
    plan_specs,
    sum_over_devices,
)
from jaxae.training.plan import Plan
from jaxae.training.program import Program
from jaxae.training.state import Examples, Hyperparameters, Metrics, TrainState


@partial(jax.jit, static_argnames="program", donate_argnames="state")
def train_steps(
    state: TrainState,
    data: Examples,
    plan: Plan,
    until: Int[Array, ""] | int,
    hyperparameters: Hyperparameters,
    *,
    program: Program,
) -> tuple[TrainState, Metrics]:
    """Take the steps of a plan from where the state stands up to (without) its row `until`.

    A step whose cost or gradient is not finite changes nothing and ends the loop: `state.step` tells which it was. A
    state that stands before a plan's first step takes none of it, so later plans leave it alone too.

    Returns:
        The new state and the metrics of each of the plan's steps, zero for those not taken here. The cost of a
        refused step is NaN or infinite.
    """
    specs = (WHOLE, examples_spec(program), plan_specs(plan), WHOLE, WHOLE)
    run = on_each_device(program, partial(_run_steps, program), specs, WHOLE)
    return run(state, data, plan, jnp.asarray(until, jnp.int32), hyperparameters)


@partial(jax.jit, static_argnames="program")
def evaluate(
    parameters: Parameters, data: Examples, plan: Plan, beta: Float[Array, ""] | float, *, program: Program
) -> Metrics:
    """Mean cost, reconstruction and KL over a plan's examples, all in nats per image.

    The noise of an image depends on the key and the image's index alone, not on the batches.
    """
    specs = (WHOLE, WHOLE, plan_specs(plan), WHOLE)
    run = on_each_device(program, partial(_run_evaluation, program), specs, WHOLE)
    return run(parameters, data, plan, beta)


@partial(jax.jit, static_argnames="program", donate_argnames="state")
def train_many_steps(
    state: TrainState,
    data: Examples,
    plan: Plan,
    until: Int[Array, ""] | int,
    hyperparameters: Hyperparameters,
    *,
    program: Program,
) -> tuple[TrainState, Metrics]:
    """Take the same steps as `train_steps` for many models, in one program.

    States, plans and hyperparameters have a leading axis of models, and so have the results; data, `until` and the
    plan's first step are common to all. The program's mesh is one that `divide_by_models` made.
    """

    def run(
        state: TrainState, data: Examples, plan: Plan, until: Array, hyper: Hyperparameters
    ) -> tuple[TrainState, Metrics]:
        def one(own: tuple[Any, ...]) -> tuple[TrainState, Metrics]:
            state, order, noise, hyper = own
            own_plan = Plan(order, noise, plan.first_step)
            return _run_steps(program, state, data, own_plan, until, hyper)

        return for_each_model(program, one, (state, plan.order, plan.noise, hyper))

    specs = (BY_MODEL, WHOLE, plan_specs(plan), WHOLE, BY_MODEL)
    until = jnp.asarray(until, jnp.int32)
    return on_each_device(program, run, specs, BY_MODEL)(state, data, plan, until, hyperparameters)


@partial(jax.jit, static_argnames="program")
def evaluate_many(
    parameters: Parameters, data: Examples, plan: Plan, beta: Float[Array, " models"], *, program: Program
) -> Metrics:
    """Evaluate many models, whose parameters have a leading axis, on one plan."""

    def run(parameters: Parameters, data: Examples, plan: Plan, beta: Array) -> Metrics:
        def one(own: tuple[Parameters, Array]) -> Metrics:
            return _run_evaluation(program, own[0], data, plan, own[1])

        return for_each_model(program, one, (parameters, beta))

    specs = (BY_MODEL, WHOLE, plan_specs(plan), BY_MODEL)
    return on_each_device(program, run, specs, BY_MODEL)(parameters, data, plan, beta)


# Adam's decay rates and epsilon: the defaults of optax and of torch.
_DECAY_1, _DECAY_2, _EPSILON = 0.9, 0.999, 1e-8

# XLA splits a loop over a flat vector among threads; where a part's length is no multiple of this, it is
# bounds-checked and not vectorised, and takes 4 times as long.
_FLAT_MULTIPLE = 512


class _Carry(NamedTuple):
    """What the loop over steps hands on: flat parameters, the optimizer's, their average if any, and the place."""

    flat: Float[Array, " length"]
    moments: Any
    index: Int[Array, ""]
    ok: Bool[Array, ""]
    terms: Float[Array, "steps terms"]
    average: Float[Array, " length"] | None = None


def _run_steps(
    program: Program, state: TrainState, data: Examples, plan: Plan, until: Array, hyperparameters: Hyperparameters
) -> tuple[TrainState, Metrics]:
    # One flat vector each for parameters and moments: one sum over devices, few loops to update.
    parameters, unravel = ravel_pytree(state.parameters)
    size, num_steps = parameters.size, plan.order.shape[0]
    # Room for the cost's terms behind the gradient.
    num_terms = 2 if hyperparameters.free_bits is None else 3
    length = -(-(size + num_terms) // _FLAT_MULTIPLE) * _FLAT_MULTIPLE

    def flatten(tree: Any) -> Array:
        return jnp.pad(ravel_pytree(tree)[0], (0, length - size))

    def restore(flat: Array) -> Parameters:
        return unravel(flat[:size])

    # All that does not depend on parameters, for all steps at once: in the loop, noise is many small kernels per step,
    # and XLA fuses the corrections' powers into the loop over parameters.
    steps = plan.first_step + jnp.arange(num_steps)
    order = jnp.asarray(plan.order)
    noise = noise_of_steps(program, plan, steps, order)
    count = sum_over_devices(program, (order >= 0).sum(1).astype(parameters.dtype))
    mean_of = jnp.maximum(count, 1)
    # The post's reductions: the autoencoder's cost is a mean, the VAE's a sum.
    scale = jnp.ones_like(count)
    if program.reduction == "batch_mean":
        scale = 1 / mean_of
    elif program.reduction == "post" and isinstance(program.model, AutoencoderConfig):
        scale = 1 / (mean_of * program.model.num_features)
    number = (steps + 1).astype(parameters.dtype)
    # 1 - decay ** steps, without the cancellation that costs float32 four digits at first.
    rate = hyperparameters.learning_rate / -jnp.expm1(math.log(_DECAY_1) * number)
    correction = 1 / -jnp.expm1(math.log(_DECAY_2) * number)
    decay = None
    if hyperparameters.weight_decay is not None:
        decay = jnp.broadcast_to(hyperparameters.learning_rate * hyperparameters.weight_decay, steps.shape)

    def proceed(carry: _Carry) -> Array:
        return (carry.index >= 0) & (carry.index < until) & carry.ok

    def step(carry: _Carry, row: Array, go: Array | None = None) -> tuple[_Carry, Array]:
        """The carry after the step of a plan's row, which changes nothing where not `go`; and the step's terms."""
        flat, moments, index, _, terms, average = carry

        def local_cost(parameters: Parameters) -> tuple[Array, Array]:
            here = jax.tree.map(lambda leaf: leaf[row], noise)
            batch = take_batch(program, data, order[row], here)
            beta = hyperparameters.beta
            beta = beta[row] if isinstance(beta, jax.Array) and beta.ndim else beta
            return summed_cost(program, parameters, batch, beta, hyperparameters.free_bits)

        gradient, sums = jax.grad(local_cost, has_aux=True)(restore(flat))
        leaves = [leaf.ravel() for leaf in jax.tree.leaves(gradient)]
        padding = jnp.zeros(length - size - num_terms, flat.dtype)
        total = sum_over_devices(program, jnp.concatenate([*leaves, padding, sums]))
        if program.platform != "cpu":
            # Else XLA takes the sum below piece by piece, in a kernel or two for each parameter: docs/gpu.md.
            total = jax.lax.optimization_barrier(total)
        # Finite only where all terms and all of the gradient are: the vector holds them all.
        ok = jnp.isfinite(total.sum()) & (count[row] > 0)
        ok = ok if go is None else ok & go
        factor = scale[row]
        if hyperparameters.grad_clip_norm is not None:
            norm = factor * jnp.linalg.norm(total[:size])
            factor = factor * jnp.minimum(1, hyperparameters.grad_clip_norm / norm)
        if program.optimizer is None:
            # Three loops, each in place; fused, all three would compute the first two.
            first = _first_moment(ok, moments[0], total, factor)
            second = _second_moment(ok, moments[1], total, factor)
            decayed = () if decay is None else (decay[row],)
            flat = _descend(ok, flat, first, second, rate[row], correction[row], *decayed)
            moments = (first, second)
        else:
            stepped, after = _own_step(program.optimizer, restore(flat), moments, restore(factor * total))
            flat, moments = jax.tree.map(partial(jnp.where, ok), (flatten(stepped), after), (flat, moments))
        if average is not None and state.average is not None:
            average = _moving_average(ok, average, flat, state.average.rate)
        return _Carry(flat, moments, index + ok, ok, terms, average), total[-num_terms:]

    def advance(carry: _Carry) -> _Carry:
        after, terms = step(carry, carry.index)
        return after._replace(terms=carry.terms.at[carry.index].set(terms))

    def advance_if_due(carry: _Carry, row: Array) -> tuple[_Carry, Array]:
        go = (carry.index == row) & proceed(carry)
        after, terms = step(carry, row, go)
        return after._replace(ok=after.ok | (carry.ok & ~go)), jnp.where(go, terms, 0)

    start = _Carry(
        flatten(state.parameters),
        state.optimizer
        if program.optimizer is not None
        else (flatten(state.optimizer[0].mu), flatten(state.optimizer[0].nu)),
        state.step - plan.first_step,
        jnp.bool(True),
        jnp.zeros((num_steps, num_terms), parameters.dtype),
        None if state.average is None else flatten(state.average.raw),
    )
    if num_steps == 1:
        # No loop, in which XLA's own CPU convolutions, the plain lowering's, are far slower.
        go = proceed(start)
        end = jax.tree.map(lambda new, old: jnp.where(go, new, old), advance(start), start)
    elif program.platform == "cpu":
        end = jax.lax.while_loop(proceed, advance, start)
    else:
        # A pass for every row: of a loop that may end early, the host reads before each pass whether it goes on.
        end, terms = jax.lax.scan(advance_if_due, start, jnp.arange(num_steps))
        end = end._replace(terms=terms)
    taken = plan.first_step + end.index
    optimizer = end.moments
    if program.optimizer is None:
        mu, nu = map(restore, end.moments)
        optimizer = (state.optimizer[0]._replace(count=taken, mu=mu, nu=nu), *state.optimizer[1:])
    reconstruction, kl, *counted = end.terms.T
    cost = scale * negative_elbo(reconstruction, counted[0] if counted else kl, hyperparameters.beta)
    refused = ~end.ok & (jnp.arange(num_steps) == end.index)
    metrics = Metrics(jnp.where(refused, jnp.nan, cost), reconstruction / mean_of, kl / mean_of)
    average = None
    if end.average is not None and state.average is not None:
        average = state.average._replace(raw=restore(end.average))
    return TrainState(restore(end.flat), optimizer, taken, average=average), metrics


def _own_step(
    optimizer: optax.GradientTransformation, parameters: Parameters, state: Any, gradient: Parameters
) -> tuple[Any, Any]:
    """Parameters and the optimizer's state after its step."""
    updates, state = optimizer.update(gradient, state, parameters)
    return optax.apply_updates(parameters, updates), state


@fenced
def _first_moment(ok: Array, first: Array, total: Array, scale: Array) -> Array:
    return jnp.where(ok, _DECAY_1 * first + (1 - _DECAY_1) * (scale * total), first)


@fenced
def _second_moment(ok: Array, second: Array, total: Array, scale: Array) -> Array:
    return jnp.where(ok, _DECAY_2 * second + (1 - _DECAY_2) * (scale * total) ** 2, second)


@fenced
def _descend(
    ok: Array, flat: Array, first: Array, second: Array, rate: Array, correction: Array, decay: Array | None = None
) -> Array:
    change = rate * first / (jnp.sqrt(correction * second) + _EPSILON)
    if decay is not None:
        change = change + decay * flat
    return jnp.where(ok, flat - change, flat)


@fenced
def _moving_average(ok: Array, average: Array, flat: Array, rate: Array) -> Array:
    return jnp.where(ok, average + rate * (flat - average), average)


def _run_evaluation(program: Program, parameters: Parameters, data: Examples, plan: Plan, beta: Array) -> Metrics:
    key = plan.noise.key
    assert key is not None  # an evaluation's examples draw by their index, whatever the batches

    def batch(totals: Array, row: Array) -> tuple[Array, None]:
        noise = draw_noise(program, key, row)
        _, sums = summed_cost(program, parameters, take_batch(program, data, row, noise), beta)
        return totals + sums, None

    order = jnp.asarray(plan.order)
    totals, _ = jax.lax.scan(batch, jnp.zeros(2, program.float_dtype), order)
    count = sum_over_devices(program, (order >= 0).sum())
    reconstruction, kl = sum_over_devices(program, totals) / count
    return Metrics(negative_elbo(reconstruction, kl, beta), reconstruction, kl)
