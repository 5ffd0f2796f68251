"""Whole runs: the post's script under `manual_seed`, replayed by jaxae without torch's help."""

from collections.abc import Iterator
from typing import Literal

import jax
import numpy as np
import torch

import torch_ref
from jaxae.config import RunConfig
from jaxae.data.dataset import Dataset
from jaxae.parity.gap import measure
from jaxae.parity.pair import Pair, TorchBatch
from jaxae.parity.rung_result import RungResult
from jaxae.parity.tolerance import FORWARD, RUN, RUN_EPOCH, RUN_LINES
from jaxae.port.reference import reference_module
from jaxae.training.schedule import make_schedule
from jaxae.training.state import hyperparameters_of
from jaxae.training.trainer import Trainer

Loader = Literal["torch-1", "torch"]


def run_rows(
    pair: Pair, data: Dataset, single: Pair | None = None, *, epochs: int = 5, loader: Loader = "torch-1"
) -> Iterator[RungResult]:
    """A run of the post's protocol in float64 and its replay: costs of every step, and the final weights.

    torch draws weights, order and noise from its own generator; jaxae from its own stream of the
    same seed. Where a pair in float32 is given too, the costs that the post's script would print are compared: those
    of the first epoch for a VAE, whose float32 paths part later.
    """
    config = pair.config.replace(replay=loader, epochs=epochs)
    expected, weights = torch_run(pair, config, data)
    found, twin_weights = jax_run(pair, config, data)
    name = f"replay of {epochs} epochs on {data.name}"
    yield pair.result(f"{name}: costs", measure(_each(found), _each(expected)), RUN)
    yield pair.result(f"{name}: final weights", measure(twin_weights, weights), RUN)
    if single is None:
        return
    what, bound = "costs", RUN_LINES
    if pair.is_vae:
        what, bound, config = "costs of the first epoch", RUN_EPOCH, config.replace(epochs=1)
    theirs, ours = (run(single, config, data)[0] for run in (torch_run, jax_run))
    exact = expected[: len(theirs)]
    yield single.judge(f"{name}: first cost", FORWARD, _each(ours[:1]), _each(theirs[:1]), _each(exact[:1]))
    yield single.judge(f"{name}: {what}", bound, _each(ours), _each(theirs), _each(exact))


def _each(costs: np.ndarray) -> dict[str, float]:
    """Costs one by one, so that each is held against its own size."""
    return {f"step {step}": cost for step, cost in enumerate(costs.tolist(), 1)}


def torch_run(pair: Pair, config: RunConfig, data: Dataset) -> tuple[np.ndarray, dict[str, torch.Tensor]]:
    """The cost of every step, and the final weights, of the post's script."""
    train = config.train
    pictures = np.moveaxis(pair.pictures(data.train.images), -1, 1).copy()
    split = torch_ref.Split(torch.from_numpy(pictures), torch.from_numpy(data.train.labels.astype(np.int64)))
    assert train.replay != "no"
    batches = torch_ref.shuffled_batches(split, train.batch_size, train.replay)
    torch.manual_seed(train.seed)
    model = reference_module(config.model).to(pair.torch_dtype)
    optimizer = pair.optimizer(model.parameters())
    costs = []
    for _ in range(train.epochs):
        for images, labels in batches:
            pixels = images.to(pair.torch_dtype)
            flat = pixels if pair.is_vae else pixels.flatten(1)
            cost = pair.cost(model, TorchBatch(flat, labels, None))
            optimizer.zero_grad()
            cost.backward()
            optimizer.step()
            costs.append(cost.item())
    return np.array(costs), model.state_dict()


def jax_run(pair: Pair, config: RunConfig, data: Dataset) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The cost of every step, and the final weights by torch's names, of jaxae's replay."""
    schedule = make_schedule(config, len(data.train.labels))
    examples = (pair.pictures(data.train.images), data.train.labels)
    trainer = Trainer.start(pair.program, schedule.init_parameters(), examples, hyperparameters_of(config))
    costs = []
    for epoch in range(config.train.epochs):
        metrics = trainer.take(trainer.place(schedule.plan(epoch)))
        costs.append(np.asarray(metrics.cost))
    return np.concatenate(costs), pair.named(jax.device_get(trainer.state.parameters))
