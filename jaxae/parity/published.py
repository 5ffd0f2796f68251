"""What the original notebooks printed in 2019, replayed in float64 and compared line by line.

The notebooks ran on a GPU in float32, under torch 1.0 and 1.3. A replay draws the same weights,
order and noise from torch's CPU stream; what stands between the two is float32's rounding. The
autoencoder's printed digits do not show it. In the VAEs training amplifies it: after the first
lines any two arithmetics follow paths of their own, and means over an epoch are what can be held.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Literal

import numpy as np
from jax.sharding import Mesh

from jaxae.config import AUTOENCODER, CONDITIONAL_VAE, AutoencoderConfig, RunConfig
from jaxae.data.dataset import Dataset
from jaxae.errors import InputError
from jaxae.storage.tables import format_table
from jaxae.training.checks import check_training
from jaxae.training.program import program_of
from jaxae.training.runtime import make_mesh
from jaxae.training.schedule import make_schedule
from jaxae.training.state import hyperparameters_of
from jaxae.training.trainer import Trainer

_FILE = Path(__file__).with_name("published_costs.json")
REPLAYED = {"dtype": "float64", "replay": "torch-1", "data": "mnist", "binarize": False}
_CONFIGS: dict[str, RunConfig] = {
    "ae-basic-with-rf": AUTOENCODER.replace(**REPLAYED),
    "ae-cnn-cvae_no-out-concat": CONDITIONAL_VAE.replace(**REPLAYED),
}
# Epoch (from 1), batch (from 0) and cost of each line.
Costs = tuple[tuple[int, int, float], ...]
FIRST_LINE = 1e-6
"""Relative gap allowed to a VAE's first line, before training has amplified anything."""
EPOCH_MEANS, EPOCH_MEAN = 5e-3, 1e-2
"""Relative gap allowed to the means of a VAE's lines of one epoch: on average over the epochs, and to each. Replays
in float64 on one and on two devices part at epoch 8 themselves, by 5e-3 of a line; the largest of 50 means of ten
lines was 3.6e-3 in one replay and 7.6e-3 in another."""


@dataclass(frozen=True)
class PublishedLine:
    """A line that a notebook printed, and what the replay has in its place.

    Attributes:
        epoch: Number of the epoch, counted from 1.
        batch: Number of the batch in its epoch, counted from 0.
        published: The printed cost.
        replayed: The replay's cost.
        decimals: Number of decimals that were printed.
    """

    epoch: int
    batch: int
    published: float
    replayed: float
    decimals: int = 4

    @property
    def identical(self) -> bool:
        """Whether the replay prints the same decimals."""
        # Half a unit of the last decimal, and float64's own rounding of it.
        return abs(self.replayed - self.published) <= 0.5 * 10.0**-self.decimals * (1 + 1e-9)

    @property
    def gap(self) -> float:
        """Relative difference of the two costs."""
        return abs(self.replayed - self.published) / abs(self.published)


@dataclass(frozen=True)
class PublishedLog:
    """A notebook's settings, and the costs that it printed.

    Attributes:
        name: Name of the notebook.
        config: The notebook's settings, as a replay.
        costs: Epoch, batch and cost of each line.
        decimals: Number of decimals of the printed costs.
        batches: Number of batches an epoch as the lines have it; None if they do not say.
    """

    name: str
    config: RunConfig
    costs: Costs
    decimals: int = 4
    batches: int | None = None


@dataclass(frozen=True)
class PublishedComparison:
    """A replay beside the log.

    Attributes:
        log: The notebook's log.
        lines: The lines that were replayed, all or the first ones.
        seconds: Time that the replay took.
    """

    log: PublishedLog
    lines: tuple[PublishedLine, ...]
    seconds: float = 0.0

    @property
    def identical(self) -> int:
        """Number of lines whose printed digits are all the same."""
        return sum(line.identical for line in self.lines)

    @property
    def epoch_gaps(self) -> list[float]:
        """Relative difference of the two means over each epoch's lines."""
        epochs = [list(group) for _, group in groupby(self.lines, key=lambda line: line.epoch)]
        means = [(fmean(x.replayed for x in lines), fmean(x.published for x in lines)) for lines in epochs]
        return [abs(replayed - published) / abs(published) for replayed, published in means]

    @property
    def passed(self) -> bool:
        """Whether an autoencoder's lines are identical; a VAE's first line and means are near."""
        if not self.lines:
            return False
        if isinstance(self.log.config.model, AutoencoderConfig):
            return self.identical == len(self.lines)
        first = self.lines[0]
        begins = first.epoch > 1 or first.batch > 0 or first.identical or first.gap <= FIRST_LINE
        return begins and max(self.epoch_gaps) <= EPOCH_MEAN and fmean(self.epoch_gaps) <= EPOCH_MEANS

    def to_json(self) -> dict[str, str | int | float | bool]:
        """The comparison in numbers, as plain JSON values."""
        return {
            "log": self.log.name,
            "lines": len(self.lines),
            "identical": self.identical,
            "largest_line_difference": max(line.gap for line in self.lines),
            "largest_epoch_mean_difference": max(self.epoch_gaps),
            "average_epoch_mean_difference": fmean(self.epoch_gaps),
            "first_line_difference": self.lines[0].gap,
            "seconds": round(self.seconds, 1),
            "passed": self.passed,
        }


def published_logs() -> list[PublishedLog]:
    """The logs that come with the package.

    Source: the outputs saved in the notebooks of `rasbt/deeplearning-models`,
    pytorch_ipynb/autoencoder (MIT licence).
    """
    logs = json.loads(_FILE.read_text())["logs"]
    return [PublishedLog(name, config, tuple(map(tuple, logs[name]))) for name, config in _CONFIGS.items()]


def check_replay(log: PublishedLog, dataset: Dataset) -> Mesh:
    """The devices that a log's replay is for; what cannot be replayed is refused, before anything else is.

    Raises:
        InputError: If the log has other batches than its settings make of the data, or these do not suit the model.
    """
    batches, size = -(-len(dataset.train.labels) // log.config.train.batch_size), log.config.train.batch_size
    last = max(batch for _, batch, _ in log.costs)
    # Some print the number of batches less one.
    if last >= batches or (log.batches or batches) not in (batches, batches - 1):
        told = f"{log.batches} batches" if log.batches else f"batch {last}"
        raise InputError(f"expected a log of {batches} batches of {size} an epoch, got one of {told}: {log.name}")
    mesh = make_mesh(batch_size=size)
    check_training(log.config, dataset, mesh)
    return mesh


def replay_published(
    log: PublishedLog,
    dataset: Dataset,
    *,
    steps: int | None = None,
    report: Callable[[str], object] = lambda line: None,
) -> PublishedComparison:
    """Replay a notebook's training on MNIST, and put its costs beside the printed ones.

    JAX must have x64 enabled; the devices present share each batch.

    Args:
        log: The notebook's log.
        dataset: MNIST in its original order.
        steps: Number of steps to replay; by default as many as the log has epochs of.
        report: Function that is called with a line of text as each epoch ends.

    Raises:
        InputError: If the log has other batches than its settings make of the data, or these do not suit the model.
    """
    begun = time.perf_counter()
    mesh = check_replay(log, dataset)
    schedule = make_schedule(log.config, len(dataset.train.labels))
    program = program_of(log.config, mesh)
    trainer = Trainer.start(program, schedule.init_parameters(), dataset.train, hyperparameters_of(log.config))
    lines: list[PublishedLine] = []
    printed = {epoch: list(group) for epoch, group in groupby(log.costs, key=lambda line: line[0])}
    left = steps
    for epoch in range(1, max(printed) + 1):
        plan = schedule.plan(epoch - 1)
        taken = len(plan.order) if left is None else min(left, len(plan.order))
        if not taken:
            break
        costs = np.asarray(trainer.take(trainer.place(plan, 0, len(plan.order)), taken).cost)
        own = [
            PublishedLine(epoch, batch, cost, float(costs[batch]), log.decimals)
            for _, batch, cost in printed.get(epoch, [])
            if batch < taken
        ]
        lines += own
        if own:
            (mean,) = PublishedComparison(log, tuple(own)).epoch_gaps
            same = sum(line.identical for line in own)
            report(f"{log.name}, epoch {epoch}: {same} of {len(own)} lines identical, mean off by {mean:.1e}")
        left = None if left is None else left - taken
    return PublishedComparison(log, tuple(lines), time.perf_counter() - begun)


def published_table(found: Sequence[PublishedComparison], *, style: Literal["plain", "markdown"] = "plain") -> str:
    """Comparisons as text, a line each; differences are relative."""
    titles = ("log", "lines", "identical", "largest of a line", "of an epoch's mean", "on average", "first line")
    rows = []
    for one in found:
        name, lines, identical, *measured, seconds, passed = one.to_json().values()
        gaps = (f"{gap:.1e}" for gap in measured)
        rows.append((str(name), str(lines), str(identical), *gaps, f"{seconds:.0f}", "pass" if passed else "FAIL"))
    return format_table((*titles, "seconds", "verdict"), rows, style=style, right=range(1, 8))
