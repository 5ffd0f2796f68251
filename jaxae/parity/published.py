"""What the original notebooks printed in 2019, replayed in float64 and compared line by line.

The notebooks ran on a GPU in float32, under torch 1.0 and 1.3. A replay draws the same weights,
order and noise from torch's CPU stream; what stands between the two is float32's rounding. The
autoencoder's printed digits do not show it. In the VAEs training amplifies it: after the first
lines any two arithmetics follow paths of their own, and means over an epoch are what can be held.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean

import numpy as np

from jaxae.config import AUTOENCODER, CONDITIONAL_VAE, AutoencoderConfig, RunConfig
from jaxae.data.dataset import Dataset
from jaxae.training.program import program_of
from jaxae.training.runtime import make_mesh
from jaxae.training.schedule import make_schedule
from jaxae.training.state import hyperparameters_of
from jaxae.training.trainer import Trainer

_FILE = Path(__file__).with_name("published_costs.json")
_REPLAYED = {"dtype": "float64", "replay": "torch-1", "data": "mnist"}
_CONFIGS: dict[str, RunConfig] = {
    "ae-basic-with-rf": AUTOENCODER.replace(**_REPLAYED),
    "ae-cnn-cvae_no-out-concat": CONDITIONAL_VAE.replace(**_REPLAYED),
}
# Half a unit of the fourth decimal, the last that is printed, and float64's own rounding of it.
PRINTED = 0.5e-4 * (1 + 1e-9)
FIRST_LINE = 1e-6
"""Relative gap allowed to a VAE's first line, before training has amplified anything."""
EPOCH_MEAN = 5e-3
"""Relative gap allowed to the mean of a VAE's lines of one epoch; measured 3.6e-3 over 50."""


@dataclass(frozen=True)
class PublishedLine:
    """A line that a notebook printed, and what the replay has in its place.

    Attributes:
        epoch: Number of the epoch, counted from 1.
        batch: Number of the batch in its epoch, counted from 0.
        published: The printed cost.
        replayed: The replay's cost.
    """

    epoch: int
    batch: int
    published: float
    replayed: float

    @property
    def identical(self) -> bool:
        """Whether the replay prints the same four decimals."""
        return abs(self.replayed - self.published) <= PRINTED

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
    """

    name: str
    config: RunConfig
    costs: tuple[tuple[int, int, float], ...]


@dataclass(frozen=True)
class PublishedComparison:
    """A replay beside the log.

    Attributes:
        log: The notebook's log.
        lines: The lines that were replayed, all or the first ones.
    """

    log: PublishedLog
    lines: tuple[PublishedLine, ...]

    @property
    def identical(self) -> int:
        """Number of lines whose printed digits are all the same."""
        return sum(line.identical for line in self.lines)

    @property
    def epoch_gaps(self) -> list[float]:
        """Relative difference of the two means over each epoch's lines."""
        epochs = [list(group) for _, group in groupby(self.lines, key=lambda line: line.epoch)]
        means = [(fmean(x.replayed for x in lines), fmean(x.published for x in lines)) for lines in epochs]
        return [abs(replayed - published) / published for replayed, published in means]

    @property
    def passed(self) -> bool:
        """Whether an autoencoder's lines are identical; a VAE's first line and means are near."""
        if not self.lines:
            return False
        if isinstance(self.log.config.model, AutoencoderConfig):
            return self.identical == len(self.lines)
        return self.lines[0].gap <= FIRST_LINE and max(self.epoch_gaps) <= EPOCH_MEAN


def published_logs() -> list[PublishedLog]:
    """The logs that come with the package.

    Source: the outputs saved in the notebooks of `rasbt/deeplearning-models`,
    pytorch_ipynb/autoencoder (MIT licence).
    """
    logs = json.loads(_FILE.read_text())["logs"]
    return [PublishedLog(name, config, tuple(map(tuple, logs[name]))) for name, config in _CONFIGS.items()]


def replay_published(
    log: PublishedLog,
    dataset: Dataset,
    *,
    steps: int | None = None,
    report: Callable[[Sequence[PublishedLine]], object] = lambda lines: None,
) -> PublishedComparison:
    """Replay a notebook's training on MNIST, and put its costs beside the printed ones.

    JAX must have x64 enabled.

    Args:
        log: The notebook's log.
        dataset: MNIST in its original order.
        steps: Number of steps to replay; by default as many as the log has epochs of.
        report: Function that is called with the lines of each epoch as it ends.
    """
    schedule = make_schedule(log.config, len(dataset.train.labels))
    program = program_of(log.config, make_mesh(batch_size=log.config.train.batch_size))
    trainer = Trainer.start(program, schedule.init_parameters(), dataset.train, hyperparameters_of(log.config))
    lines: list[PublishedLine] = []
    left = steps
    for epoch, group in groupby(log.costs, key=lambda line: line[0]):
        plan = schedule.plan(epoch - 1)
        taken = len(plan.order) if left is None else min(left, len(plan.order))
        if not taken:
            break
        costs = np.asarray(trainer.take(trainer.place(plan, 0, len(plan.order)), taken).cost)
        own = [PublishedLine(epoch, batch, cost, float(costs[batch])) for _, batch, cost in group if batch < taken]
        report(own)
        lines += own
        left = None if left is None else left - taken
    return PublishedComparison(log, tuple(lines))
