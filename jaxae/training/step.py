"""The training step and evaluation: the only file that knows merge, jit, donation and sharding.

A chunk of an epoch is one compiled program: a loop over steps on data that is already on the
devices. Every device holds the whole training set and all parameters, takes its share of each
batch, and adds its gradient to the others' as one flat vector. Noise belongs to an example of a
step, not to a device, so results do not depend on the number of devices beyond rounding.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Int32, Key, Num

from jaxae.config import (
    AutoencoderConfig,
    ComputeDtype,
    ConditionalVAEConfig,
    ModelConfig,
    RunConfig,
)
from jaxae.network.feature_major import pixels
from jaxae.network.fence import fenced
from jaxae.network.losses import (
    bce_from_logits,
    bce_from_probabilities,
    kl_from_standard_normal,
    negative_elbo,
)
from jaxae.network.models import Autoencoder, Model, with_parameters
from jaxae.network.parameters import Parameters
from jaxae.training.runtime import DATA_AXIS, MODEL_AXIS
from jaxae.training.schedule import Plan

Corruption = Callable[[Key[Array, ""], Float[Array, "..."]], Float[Array, "..."]]


@dataclass(frozen=True)
class Program:
    """All that a compiled program depends on beside the shapes of its arrays.

    Attributes:
        model: The network's settings.
        mesh: The devices that share a batch; for many models, also an axis that they are on.
        dtype: In which the network computes. The losses are float32, or float64 for "float64".
        from_probabilities: Take torch's cross-entropy rather than the one from logits.
        corrupt: Makes of a key and an example in [0, 1] what the network is shown instead of it;
            it is still to reconstruct the example.
    """

    model: ModelConfig
    mesh: Mesh
    dtype: ComputeDtype = "float32"
    from_probabilities: bool = False
    corrupt: Corruption | None = None


class TrainState(NamedTuple):
    """What a step changes: parameters, Adam's state, and the number of steps taken."""

    parameters: Parameters
    optimizer: tuple[optax.ScaleByAdamState, optax.EmptyState]
    step: Int32[Array, ""]


class Hyperparameters(NamedTuple):
    """Numbers that a compiled program takes as arguments."""

    learning_rate: Float[Array, ""] | float
    beta: Float[Array, ""] | float


class Examples(NamedTuple):
    """A split on the devices: uint8 images, or floats in [0, 1]; class labels."""

    images: Num[Array, "n ..."] | Num[np.ndarray, "n ..."]
    labels: Int32[Array, " n"] | Int32[np.ndarray, " n"]


class Metrics(NamedTuple):
    """The cost as trained on, and its terms in nats an image, the mean over the batch.

    The cost of the plain autoencoder is the mean over batch and pixels, that of the VAE the sum
    over the batch: as the post has them.
    """

    cost: Float[Array, "*steps"] | Float[np.ndarray, "*steps"]
    reconstruction: Float[Array, "*steps"] | Float[np.ndarray, "*steps"]
    kl: Float[Array, "*steps"] | Float[np.ndarray, "*steps"]


def program_of(config: RunConfig, mesh: Mesh, corrupt: Corruption | None = None) -> Program:
    """The program that trains as a configuration says."""
    train = config.train
    return Program(config.model, mesh, train.dtype, train.from_probabilities, corrupt)


def hyperparameters_of(config: RunConfig) -> Hyperparameters:
    """The learning rate and beta of a configuration."""
    return Hyperparameters(config.train.learning_rate, config.train.beta)


def init_state(program: Program, parameters: Parameters) -> TrainState:
    """The state before the first step, on the program's devices."""
    dtype = _float_dtype(program)
    parameters = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), parameters)
    adam: Any = optax.adam(0.0).init(parameters)
    state = TrainState(parameters, adam, jnp.int32(0))
    return put_state(program, state)


def put_state(program: Program, state: TrainState) -> TrainState:
    """A state as one copy on each of the program's devices."""
    # A copy first: a NumPy array's memory may be shared, and training donates what it is given.
    return jax.device_put(jax.tree.map(jnp.array, state), _sharding(program, _WHOLE))


def put_many_states(program: Program, states: Sequence[TrainState]) -> TrainState:
    """States stacked along an axis of models, each on the devices that train it."""
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    return jax.device_put(stacked, _sharding(program, _BY_MODEL))


def put_examples(
    program: Program, images: Num[np.ndarray, "n ..."], labels: Int[np.ndarray, " n"]
) -> Examples:
    """A split as one copy on each of the program's devices."""
    examples = Examples(_aligned(images), _aligned(np.asarray(labels, np.int32)))
    return jax.device_put(examples, _sharding(program, _WHOLE))


def put_plan(program: Program, plan: Plan) -> Plan:
    """A plan on the program's devices, its batches divided among them.

    A batch that the devices do not divide is filled up with -1, which counts for nothing. A plan
    for many models has their axis first.
    """
    share = _sharding(program, _specs_of(plan).order)
    devices = program.mesh.shape[DATA_AXIS]
    fill = [(0, 0)] * (plan.order.ndim - 1) + [(0, -plan.order.shape[-1] % devices)]
    order = jax.device_put(np.pad(plan.order, fill, constant_values=-1), share)
    noise = plan.noise
    if isinstance(noise, np.ndarray):
        noise = jax.device_put(np.pad(noise, [*fill, (0, 0)]), share)
    return Plan(order, noise, plan.first_step)


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

    A step whose cost or gradient is not finite changes nothing and ends the loop: `state.step`
    tells which it was. A state that stands before a plan's first step takes none of it, so later
    plans leave it alone too.

    Returns:
        The new state and the metrics of each of the plan's steps, zero for those not taken here.
        The cost of a refused step is NaN or infinite.
    """
    specs = (_WHOLE, _WHOLE, _specs_of(plan), _WHOLE, _WHOLE)
    run = _share(program, partial(_run_steps, program), specs, _WHOLE)
    return run(state, data, plan, jnp.asarray(until, jnp.int32), hyperparameters)


def train_epoch(
    state: TrainState,
    data: Examples,
    plan: Plan,
    hyperparameters: Hyperparameters,
    *,
    program: Program,
) -> tuple[TrainState, Metrics]:
    """Take all steps of a plan in one program."""
    return train_steps(state, data, plan, plan.order.shape[0], hyperparameters, program=program)


@partial(jax.jit, static_argnames="program")
def evaluate(
    parameters: Parameters,
    data: Examples,
    plan: Plan,
    beta: Float[Array, ""] | float,
    *,
    program: Program,
) -> Metrics:
    """Mean cost, reconstruction and KL over a plan's examples, all in nats an image.

    The noise of an image depends on the key and the image's index alone, not on the batches.
    """
    specs = (_WHOLE, _WHOLE, _specs_of(plan), _WHOLE)
    run = _share(program, partial(_run_evaluation, program), specs, _WHOLE)
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

    States, plans and hyperparameters have a leading axis of models, and so have the results; data,
    `until` and the plan's first step are common to all. The program's mesh is one that
    `divide_by_models` made.
    """

    def run(state: Any, data: Any, plan: Plan, until: Array, hyperparameters: Any) -> Any:
        def one(own: tuple) -> tuple[TrainState, Metrics]:
            state, order, noise, hyperparameters = own
            own_plan = Plan(order, noise, plan.first_step)
            return _run_steps(program, state, data, own_plan, until, hyperparameters)

        return _for_each_model(program, one, (state, plan.order, plan.noise, hyperparameters))

    specs = (_BY_MODEL, _WHOLE, _specs_of(plan), _WHOLE, _BY_MODEL)
    until = jnp.asarray(until, jnp.int32)
    return _share(program, run, specs, _BY_MODEL)(state, data, plan, until, hyperparameters)


@partial(jax.jit, static_argnames="program")
def evaluate_many(
    parameters: Parameters,
    data: Examples,
    plan: Plan,
    beta: Float[Array, " models"],
    *,
    program: Program,
) -> Metrics:
    """Evaluate many models, whose parameters have a leading axis, on one plan."""

    def run(parameters: Parameters, data: Examples, plan: Plan, beta: Array) -> Metrics:
        def one(own: tuple[Parameters, Array]) -> Metrics:
            return _run_evaluation(program, own[0], data, plan, own[1])

        return _for_each_model(program, one, (parameters, beta))

    specs = (_BY_MODEL, _WHOLE, _specs_of(plan), _BY_MODEL)
    return _share(program, run, specs, _BY_MODEL)(parameters, data, plan, beta)


# Adam's decay rates and epsilon: the defaults of optax and of torch.
_DECAY_1, _DECAY_2, _EPSILON = 0.9, 0.999, 1e-8

# XLA splits a loop over a flat vector among threads; where a part's length is no multiple of this,
# it is bounds-checked and not vectorised, and takes 4 times as long.
_FLAT_MULTIPLE = 512


# One copy on each device; one part of a leading axis of models on each group of devices.
_WHOLE, _BY_MODEL = PartitionSpec(), PartitionSpec(MODEL_AXIS)


def _specs_of(plan: Plan) -> Any:
    """How a plan lies on the devices: a share of each batch on each, of each group's own models."""
    models = (MODEL_AXIS,) if plan.order.ndim == 3 else ()
    share = PartitionSpec(*models, None, DATA_AXIS)
    noise = share if _is_array(plan.noise) else PartitionSpec(*models)
    return Plan._make((share, noise, _WHOLE))


def _share(program: Program, run: Callable, specs: tuple, out_specs: PartitionSpec) -> Callable:
    """A function that runs on every device, on what is there of its arguments."""
    # Gradients are summed over devices by hand; with checking on, JAX would insert a sum too.
    return jax.shard_map(
        run, mesh=program.mesh, in_specs=specs, out_specs=out_specs, check_vma=False
    )


def _for_each_model(program: Program, function: Callable, arguments: tuple) -> Any:
    """Call a function for each entry of a leading axis: in turn on a CPU, else vectorised.

    A CPU core has nothing to gain from more models at a time, and its caches have room for one.
    """
    if program.mesh.devices.flat[0].platform == "cpu":
        return jax.lax.map(function, arguments)
    return jax.vmap(function)(arguments)


def _run_steps(
    program: Program,
    state: TrainState,
    data: Examples,
    plan: Plan,
    until: Array,
    hyperparameters: Hyperparameters,
) -> tuple[TrainState, Metrics]:
    # One flat vector each for parameters and moments: one sum over devices, few loops to update.
    parameters, unravel = ravel_pytree(state.parameters)
    size, num_steps = parameters.size, plan.order.shape[0]
    # Room for the cost's two terms behind the gradient.
    length = -(-(size + 2) // _FLAT_MULTIPLE) * _FLAT_MULTIPLE

    def flatten(tree: Any) -> Array:
        return jnp.pad(ravel_pytree(tree)[0], (0, length - size))

    def restore(flat: Array) -> Parameters:
        return unravel(flat[:size])

    adam = state.optimizer[0]
    # All that does not depend on parameters, for all steps at once: in the loop, noise is many
    # small kernels a step, and XLA fuses the corrections' powers into the loop over parameters.
    steps = plan.first_step + jnp.arange(num_steps)
    order = jnp.asarray(plan.order)
    noise = plan.noise if _is_array(plan.noise) else _draw(program, plan.noise, steps, order)
    count = _sum_over_devices(program, (order >= 0).sum(1).astype(parameters.dtype))
    mean_of = jnp.maximum(count, 1)
    # The post's reductions: the autoencoder's cost is a mean, the VAE's a sum.
    scale = jnp.ones_like(count)
    if isinstance(program.model, AutoencoderConfig):
        scale = 1 / (mean_of * program.model.num_features)
    taken = (steps + 1).astype(parameters.dtype)
    # 1 - decay ** steps, without the cancellation that costs float32 four digits at first.
    rate = hyperparameters.learning_rate / -jnp.expm1(math.log(_DECAY_1) * taken)
    correction = 1 / -jnp.expm1(math.log(_DECAY_2) * taken)

    def proceed(carry: tuple) -> Array:
        *_, index, ok, _ = carry
        return (index >= 0) & (index < until) & ok

    def advance(carry: tuple) -> tuple:
        flat, first, second, index, _, terms = carry

        def local_cost(parameters: Parameters) -> tuple[Array, Array]:
            here = jax.tree.map(lambda leaf: leaf[index], noise)
            examples = _take(program, data, order[index], here)
            return _sums(program, parameters, examples, hyperparameters.beta)

        gradient, sums = jax.grad(local_cost, has_aux=True)(restore(flat))
        leaves = [leaf.ravel() for leaf in jax.tree.leaves(gradient)]
        padding = jnp.zeros(length - size - 2, flat.dtype)
        total = _sum_over_devices(program, jnp.concatenate([*leaves, padding, sums]))
        # Finite only where both terms and all of the gradient are: the vector holds them all.
        ok = jnp.isfinite(total.sum()) & (count[index] > 0)
        # Three loops, each in place; fused, all three would compute the first two.
        first = _first_moment(ok, first, total, scale[index])
        second = _second_moment(ok, second, total, scale[index])
        flat = _descend(ok, flat, first, second, rate[index], correction[index])
        return flat, first, second, index + ok, ok, terms.at[index].set(total[-2:])

    start = (
        flatten(state.parameters),
        flatten(adam.mu),
        flatten(adam.nu),
        state.step - plan.first_step,
        jnp.bool(True),
        jnp.zeros((num_steps, 2), parameters.dtype),
    )
    if num_steps == 1:
        # No loop, in which XLA's own CPU convolutions, the plain lowering's, are far slower.
        go = proceed(start)
        end = jax.tree.map(lambda new, old: jnp.where(go, new, old), advance(start), start)
    else:
        end = jax.lax.while_loop(proceed, advance, start)
    flat, first, second, index, ok, terms = end
    step = plan.first_step + index
    moments = adam._replace(count=step, mu=restore(first), nu=restore(second))
    reconstruction, kl = terms.T
    cost = scale * negative_elbo(reconstruction, kl, hyperparameters.beta)
    refused = ~ok & (jnp.arange(num_steps) == index)
    metrics = Metrics(jnp.where(refused, jnp.nan, cost), reconstruction / mean_of, kl / mean_of)
    return TrainState(restore(flat), (moments, *state.optimizer[1:]), step), metrics


def _sum_over_devices(program: Program, vector: Array) -> Array:
    # The sum over one device would be a copy.
    return vector if program.mesh.shape[DATA_AXIS] == 1 else jax.lax.psum(vector, DATA_AXIS)


@fenced
def _first_moment(ok: Array, first: Array, total: Array, scale: Array) -> Array:
    return jnp.where(ok, _DECAY_1 * first + (1 - _DECAY_1) * (scale * total), first)


@fenced
def _second_moment(ok: Array, second: Array, total: Array, scale: Array) -> Array:
    return jnp.where(ok, _DECAY_2 * second + (1 - _DECAY_2) * (scale * total) ** 2, second)


@fenced
def _descend(
    ok: Array, flat: Array, first: Array, second: Array, rate: Array, correction: Array
) -> Array:
    return jnp.where(ok, flat - rate * first / (jnp.sqrt(correction * second) + _EPSILON), flat)


def _run_evaluation(
    program: Program, parameters: Parameters, data: Examples, plan: Plan, beta: Array
) -> Metrics:
    def batch(totals: Array, row: Array) -> tuple[Array, None]:
        noise = _noise_of(program, plan.noise, row)
        _, sums = _sums(program, parameters, _take(program, data, row, noise), beta)
        return totals + sums, None

    order = jnp.asarray(plan.order)
    totals, _ = jax.lax.scan(batch, jnp.zeros(2, _float_dtype(program)), order)
    count = _sum_over_devices(program, (order >= 0).sum())
    reconstruction, kl = _sum_over_devices(program, totals) / count
    return Metrics(negative_elbo(reconstruction, kl, beta), reconstruction, kl)


class _Batch(NamedTuple):
    shown: Array
    target: Array
    labels: Array
    eps: Array
    weight: Array


class _Noise(NamedTuple):
    """What belongs to each example of a step: noise of its code, and a key for its corruption."""

    eps: Array
    key: Array | None


def _draw(program: Program, key: Any, steps: Array, order: Array) -> _Noise:
    """The noise of this device's examples of each step."""
    here = jax.lax.axis_index(DATA_AXIS) * order.shape[1] + jnp.arange(order.shape[1])
    return jax.vmap(lambda step: _noise_of(program, jax.random.fold_in(key, step), here))(steps)


def _noise_of(program: Program, key: Any, identity: Array) -> _Noise:
    """Noise that depends on the key and an example's identity alone, on whichever device it is."""
    keys = jax.vmap(partial(jax.random.fold_in, key))(identity)
    eps = jnp.zeros((len(identity), 0))
    if isinstance(program.model, ConditionalVAEConfig):
        draw = partial(jax.random.normal, shape=(program.model.num_latent,))
        eps = jax.vmap(draw)(keys)
    if program.corrupt is None:
        return _Noise(eps, None)
    # Folded once more, so that the corruption and the code's noise are independent.
    return _Noise(eps, jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys))


def _take(program: Program, data: Examples, row: Array, noise: _Noise | Array) -> _Batch:
    """This device's examples of a step, with the noise that belongs to them."""
    if not isinstance(noise, _Noise):
        noise = _Noise(noise, None)
    index = jnp.maximum(row, 0)
    dtype = _float_dtype(program)
    shape = data.images.shape[1:]
    if isinstance(program.model, AutoencoderConfig) and program.corrupt is None:
        shape = (math.prod(shape),)
    # Flat rows are gathered in half the time that images take.
    flat = data.images.reshape(len(data.labels), -1)[index]
    target = shown = pixels(flat, shape).astype(dtype)
    if noise.key is not None:
        assert program.corrupt is not None
        shown = jax.vmap(program.corrupt)(noise.key, target)
    eps = noise.eps.astype(dtype)
    return _Batch(shown, target, data.labels[index], eps, (row >= 0).astype(dtype))


def _sums(
    program: Program, parameters: Parameters, batch: _Batch, beta: Array | float
) -> tuple[Array, Array]:
    """The cost summed over examples, and the sums of its two terms."""
    compute = jnp.dtype(program.dtype)
    cast = partial(jax.tree.map, lambda leaf: leaf.astype(compute))
    model = with_parameters(program.model, cast(parameters))
    terms = _terms(program, model, batch, compute)
    cost = (batch.weight * negative_elbo(*terms, beta)).sum()
    return cost, jnp.stack([batch.weight * term for term in terms]).sum(1)


def _terms(program: Program, model: Model, batch: _Batch, compute: np.dtype) -> tuple[Array, Array]:
    dtype = _float_dtype(program)
    shown, target = batch.shown.astype(compute), batch.target
    if isinstance(model, Autoencoder):
        output = model(shown)
        target = target.reshape(len(target), -1)
        kl = jnp.zeros(len(target), dtype)
    else:
        label = batch.labels if model.config.num_classes else None
        output = model(shown, label, eps=batch.eps.astype(compute))
        kl = kl_from_standard_normal(output.mean.astype(dtype), output.log_var.astype(dtype))
        if model.config.reconstruct_condition:
            planes = jax.nn.one_hot(label, model.config.num_classes, dtype=dtype)
            shape = (*target.shape[:3], model.config.num_classes)
            planes = jnp.broadcast_to(planes[:, None, None, :], shape)
            target = jnp.concatenate([target, planes], axis=-1)
    if program.from_probabilities:
        return bce_from_probabilities(output.reconstruction.astype(dtype), target), kl
    return bce_from_logits(output.logits.astype(dtype), target), kl


def _float_dtype(program: Program) -> np.dtype:
    return np.dtype("float64" if program.dtype == "float64" else "float32")


def _sharding(program: Program, spec: PartitionSpec) -> NamedSharding:
    return NamedSharding(program.mesh, spec)


def _aligned(array: np.ndarray) -> np.ndarray:
    """A copy that begins at a multiple of 64 bytes, which all host devices then share as it is.

    Of any other array each host device would make a copy of its own.
    """
    room = np.empty(array.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _is_array(noise: Any) -> bool:
    return not jnp.issubdtype(noise.dtype, jax.dtypes.prng_key)
