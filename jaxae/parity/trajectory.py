"""Trajectories: a thousand training steps of both frameworks from one start, side by side."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
import torch
from jaxtyping import Float

from jaxae.parity.pair import Feed, Pair
from jaxae.parity.row import Gap, measure
from jaxae.schedule import Plan
from jaxae.step import (
    Hyperparameters,
    hyperparameters_of,
    init_state,
    put_examples,
    put_plan,
    train_steps,
)


class Snapshot(NamedTuple):
    """A framework after a step: its tensors by torch's names, in torch's layout."""

    cost: float
    parameters: dict[str, np.ndarray]
    first_moments: dict[str, np.ndarray]
    second_moments: dict[str, np.ndarray]


def torch_steps(pair: Pair, feed: Feed) -> Iterator[Snapshot]:
    """Train the torch network; each step gives what it left, views that the next one changes."""
    optimizer = pair.optimizer(pair.reference.parameters())
    parameters = dict(pair.reference.named_parameters())
    for step in range(len(feed.order)):
        cost = pair.cost(pair.reference, pair.batch(feed, step))
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        moments = [
            {name: optimizer.state[leaf][kind].numpy() for name, leaf in parameters.items()}
            for kind in ("exp_avg", "exp_avg_sq")
        ]
        values = {name: leaf.detach().numpy() for name, leaf in parameters.items()}
        yield Snapshot(cost.item(), values, *moments)


def jax_steps(pair: Pair, feed: Feed) -> Iterator[Snapshot]:
    """Train the twin by the project's compiled step, one step a call."""
    program = pair.program
    state = init_state(program, pair.parameters)
    data = put_examples(program, feed.images, feed.labels)
    noise = feed.noise if pair.is_vae else feed.noise[..., :0]
    plan = put_plan(program, Plan(feed.order, noise, 0))
    hyperparameters = hyperparameters_of(pair.config)
    for step in range(len(feed.order)):
        state, metrics = train_steps(
            state, data, plan, step + 1, hyperparameters, program=program
        )
        adam = state.optimizer[0]
        trees = jax.device_get((state.parameters, adam.mu, adam.nu))
        yield Snapshot(float(metrics.cost[step]), *(pair.named(tree) for tree in trees))
