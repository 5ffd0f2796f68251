"""Supervised training of a small network as one compiled program, over parameters as a tree."""

from collections.abc import Callable, Hashable
from functools import cache, partial
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Num

from jaxae.network.apply import map_rows
from jaxae.network.feature_major import pixels
from jaxae.network.parameters import ArrayTree, Parameters

Network = Callable[[Parameters, Any], Float[Array, "batch classes"]]


@cache
def network_of(kind: Callable[..., nnx.Module], *settings: Hashable, method: str = "__call__") -> Network:
    """A module's method as a function of its parameters and of images, uint8 or in [0, 1]."""
    graph = nnx.split(nnx.eval_shape(lambda: kind(*settings, rngs=nnx.Rngs(0))))[0]
    return lambda parameters, x: getattr(nnx.merge(graph, parameters), method)(unit_pixels(x))


def train(
    network: Network,
    parameters: Parameters,
    inputs: Num[Array, "n ..."],
    labels: Int[Array, " n"],
    order: Int[Array, "steps batch"],
    learning_rate: Float[Array, ""] | float,
) -> Parameters:
    """Parameters after a step of Adam for each row of `order`, on mean softmax cross-entropy.

    The learning rate falls to zero along a half cosine. A pure function: vmap it over parameters, orders and learning
    rates to train many networks at once.
    """
    schedule = optax.cosine_decay_schedule(1.0, order.shape[0])
    optimizer = optax.chain(optax.scale_by_adam(), optax.scale_by_schedule(schedule))

    def cost(parameters: Parameters, row: Array) -> Array:
        logits = network(parameters, inputs[row])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels[row]).mean()

    def step(carry: tuple, row: Array) -> tuple[tuple, None]:
        parameters, state = carry
        updates, state = optimizer.update(jax.grad(cost)(parameters, row), state)
        updates = jax.tree.map(lambda update: -learning_rate * update, updates)
        return (optax.apply_updates(parameters, updates), state), None

    (parameters, _), _ = jax.lax.scan(step, (parameters, optimizer.init(parameters)), order)
    return parameters


train_compiled = jax.jit(train, static_argnames="network")


def passes(generator: np.random.Generator, count: int, batch: int, steps: int) -> np.ndarray:
    """Order of so many steps: the examples permuted afresh whenever all have been seen."""
    rounds = -(-steps * batch // count)
    order = np.concatenate([generator.permutation(count) for _ in range(rounds)])
    return order[: steps * batch].reshape(steps, batch).astype(np.int32)


def apply(network: Callable[..., ArrayTree], parameters: Parameters, inputs: Num[np.ndarray, "n ..."]) -> ArrayTree:
    """What a network makes of many inputs: an array, or a tree of them."""
    return map_rows(partial(_apply, network, parameters), inputs)


def unit_pixels(images: Num[Array, "n ..."]) -> Float[Array, "n ..."]:
    """Pixels in [0, 1] of uint8 images, within a compiled program; floats are passed on."""
    return pixels(images.reshape(len(images), -1), images.shape[1:])


@partial(jax.jit, static_argnums=0)
def _apply(network: Callable[..., ArrayTree], parameters: Parameters, inputs: Array) -> ArrayTree:
    return network(parameters, inputs)
