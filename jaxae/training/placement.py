"""Placement: states, examples and plans on the devices of a program's mesh.

Every device holds the whole training set and all parameters, and takes its share of each batch. Of many models, each
group of devices holds its own.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Int, Int32, Num, Shaped, UInt8

from jaxae.network.parameters import Parameters
from jaxae.network.platform import traced_for
from jaxae.training.average import Average
from jaxae.training.plan import Noise, Plan
from jaxae.training.program import Program
from jaxae.training.runtime import DATA_AXIS, MODEL_AXIS
from jaxae.training.state import Best, Examples, TrainState

# PartitionSpecs in the form of what they place.
Specs = Any
Made = TypeVar("Made")

# One copy on each device; one part of a leading axis of models on each group of devices.
WHOLE, BY_MODEL = PartitionSpec(), PartitionSpec(MODEL_AXIS)


def init_state(
    program: Program, parameters: Parameters, *, keep_best: bool = False, ema_decay: float | None = None
) -> TrainState:
    """The state before the first step, on the program's devices."""
    parameters = jax.tree.map(lambda leaf: jnp.asarray(leaf, program.float_dtype), parameters)
    optimizer: Any = (program.optimizer or optax.adam(0.0)).init(parameters)
    best = Best(parameters, jnp.asarray(jnp.inf, program.float_dtype), jnp.int32(0)) if keep_best else None
    average = None
    if ema_decay is not None:
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        average = Average(zeros, jnp.asarray(1 - ema_decay, program.float_dtype))
    return put_state(program, TrainState(parameters, optimizer, jnp.int32(0), best, average))


def put_state(program: Program, state: TrainState) -> TrainState:
    """A state as one copy on each of the program's devices."""
    # A copy first: a NumPy array's memory may be shared, and training donates what it is given.
    return _put(jax.tree.map(jnp.array, state), NamedSharding(program.mesh, WHOLE))


def put_many_states(program: Program, states: Sequence[TrainState]) -> TrainState:
    """States stacked along an axis of models, each on the devices that train it."""
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    return jax.device_put(stacked, NamedSharding(program.mesh, BY_MODEL))


def put_examples(program: Program, images: Num[np.ndarray, "n ..."], labels: Int[np.ndarray, " n"]) -> Examples:
    """A split as one copy on each of the program's devices."""
    examples = Examples(_aligned(images), _aligned(np.asarray(labels, np.int32)))
    return _put(examples, NamedSharding(program.mesh, WHOLE))


def put_plan(program: Program, plan: Plan) -> Plan:
    """A plan on the program's devices, its batches divided among them.

    A batch that the devices do not divide is filled up with -1, which counts for nothing. A plan for many models has
    their axis first.
    """
    share = NamedSharding(program.mesh, plan_specs(plan).order)
    devices = program.mesh.shape[DATA_AXIS]
    fill = [(0, 0)] * (plan.order.ndim - 1) + [(0, -plan.order.shape[-1] % devices)]
    order = _put(np.pad(plan.order, fill, constant_values=-1), share)
    noise = plan.noise
    if noise.eps is not None:
        noise = Noise.given(_put(np.pad(noise.eps, [*fill, (0, 0)]), share))
    return Plan(order, noise, plan.first_step)


def plan_specs(plan: Plan) -> Specs:
    """How a plan lies on the devices: a share of each batch on each, of each group's own models."""
    models = (MODEL_AXIS,) if plan.order.ndim == 3 else ()
    share, key = PartitionSpec(*models, None, DATA_AXIS), PartitionSpec(*models)
    noise = Noise._make((key, None) if plan.noise.eps is None else (None, share))
    return Plan._make((share, noise, WHOLE))


def examples_spec(program: Program) -> PartitionSpec:
    """How a training's examples lie on the devices: all on each, or, streamed, each its own."""
    return PartitionSpec(DATA_AXIS) if program.streams else WHOLE


def put_shares(
    program: Program, shares: Sequence[tuple[UInt8[np.ndarray, "n ..."], Int32[np.ndarray, " n"]]]
) -> Examples:
    """Examples of a streamed chunk: to each of this process's devices in the mesh its own."""
    sharding = NamedSharding(program.mesh, examples_spec(program))
    devices = [program.mesh.devices.flat[place] for place in own_places(program)]

    def put(parts: Sequence[np.ndarray]) -> jax.Array:
        shape = (program.mesh.size * len(parts[0]), *parts[0].shape[1:])
        placed = [jax.device_put(part, device) for part, device in zip(parts, devices, strict=True)]
        return jax.make_array_from_single_device_arrays(shape, sharding, placed)

    images, labels = zip(*shares, strict=True)
    return Examples(put(images), put(labels))


def own_places(program: Program) -> list[int]:
    """Places in the mesh of this process's devices."""
    own = {*program.mesh.local_devices}
    return [place for place, device in enumerate(program.mesh.devices.flat) if device in own]


def on_each_device(
    program: Program, run: Callable[..., Any], specs: tuple[Any, ...], out_specs: PartitionSpec
) -> Callable[..., Any]:
    """A function that runs on every device, on what is there of its arguments."""

    def traced(*arguments: Any) -> Any:
        with traced_for(program.platform):
            return run(*arguments)

    # Gradients are summed over devices by hand; with checking on, JAX would insert a sum too.
    return jax.shard_map(traced, mesh=program.mesh, in_specs=specs, out_specs=out_specs, check_vma=False)


def sum_over_devices(program: Program, vector: jax.Array) -> jax.Array:
    """The sum of what each device of a group has."""
    # The sum over one device would be a copy.
    return vector if program.mesh.shape[DATA_AXIS] == 1 else jax.lax.psum(vector, DATA_AXIS)


def for_each_model(program: Program, function: Callable[[Any], Made], arguments: tuple[Any, ...]) -> Made:
    """Call a function for each entry of a leading axis: in turn on a CPU, else vectorised.

    A CPU core has nothing to gain from more models at a time, and its caches have room for one.
    """
    if program.platform == "cpu":
        return jax.lax.map(function, arguments)
    return jax.vmap(function)(arguments)


def here(tree: Made) -> Made:
    """What every device has whole, as arrays that this process alone computes with; donated with it."""
    return jax.tree.map(lambda leaf: leaf if leaf.is_fully_addressable else leaf.addressable_data(0), tree)


def _put(tree: Made, sharding: NamedSharding) -> Made:
    """Arrays on devices; where some are another process's, this one puts its own part, and each has the whole."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def put(leaf: Any) -> jax.Array:
        # By device_put each process would first ask all others for their copy.
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(put, tree)


def _aligned(array: Shaped[np.ndarray, "*shape"]) -> Shaped[np.ndarray, "*shape"]:
    """A copy that begins at a multiple of 64 bytes, which all host devices then share as it is.

    Of any other array each host device would make a copy of its own.
    """
    room = np.empty(array.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    # In this machine's byte order, which JAX takes for granted.
    copy = room[start : start + array.nbytes].view(array.dtype.newbyteorder("=")).reshape(array.shape)
    copy[...] = array
    return copy
