"""Where a training is followed besides its run folder: TensorBoard, Weights & Biases.

What they get is what `metrics.jsonl` has, under its names, and the run's figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from jaxae.config import RunConfig
from jaxae.storage.extra import extra
from jaxae.training.run_folder import MetricsLine

if TYPE_CHECKING:
    from jaxae.network.models import Model

_PLACE = ("epoch", "step", "batch", "time")  # where a line of metrics stands, not what it says


@runtime_checkable
class Tracker(Protocol):
    """A service that shows numbers and pictures of a training."""

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Take the values of a step: costs in nats per image, by the names of `metrics.jsonl`."""
        ...

    def figures(self, paths: Sequence[Path], step: int) -> None:
        """Take PNG files of figures as they are after a step."""
        ...

    def close(self) -> None:
        """Write what is left, at the end of the training."""
        ...


@dataclass
class Following:
    """Tells trackers what is new in a training: `fit(after_epoch=Following([...]))`.

    A resumed run is told from its beginning, so that each of them has whole curves.

    Attributes:
        trackers: Trackers to tell.
        told: Number of lines of metrics that they have.
        step: Number of steps at the last of them.
    """

    trackers: Sequence[Tracker]
    told: int = 0
    step: int = 0

    def __call__(self, model: "Model", metrics: list[MetricsLine]) -> None:
        """Tell of the lines that came since the last call."""
        for line in metrics[self.told :]:
            values = {name: float(value) for name, value in line.items() if name not in _PLACE}
            self.step = int(line["step"])
            for tracker in self.trackers:
                tracker.scalars(values, self.step)
        self.told = len(metrics)

    def show(self, paths: Sequence[Path]) -> None:
        """Hand over PNG files of figures as they are now."""
        for tracker in self.trackers:
            tracker.figures(paths, self.step)

    def close(self) -> None:
        """End all trackers."""
        for tracker in self.trackers:
            tracker.close()


class TensorBoardTracker:
    """Writes event files for TensorBoard; those of the same folder before count no more.

    Args:
        folder: Folder to write them to, `tensorboard --logdir` of which shows them.
        config: Settings of the run, shown as text.

    Raises:
        InputError: If tensorboardX is not installed.
    """

    def __init__(self, folder: Path, config: RunConfig):
        writer = extra("tensorboardX", "tensorboardX", "tensorboard")
        self._writer = writer.SummaryWriter(str(folder), purge_step=0)
        self._writer.add_text("config", f"```\n{_text(config)}\n```", 0)

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Add a point to the curve of each value."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def figures(self, paths: Sequence[Path], step: int) -> None:
        """Add the pictures under their names."""
        import matplotlib.image

        for path in paths:
            self._writer.add_image(path.stem, matplotlib.image.imread(path)[..., :3], step, dataformats="HWC")

    def close(self) -> None:
        """Write the last events."""
        self._writer.close()


class WandbTracker:
    """Logs to Weights & Biases; `WANDB_MODE=offline` keeps a run here, for `wandb sync`.

    Args:
        project: Name of its project.
        folder: Folder that wandb keeps its files in.
        config: Settings of the run.

    Raises:
        InputError: If wandb is not installed.
    """

    def __init__(self, project: str, folder: Path, config: RunConfig):
        self._wandb = extra("wandb", "wandb", "wandb")
        quiet = self._wandb.Settings(silent=True)
        # What it says goes to standard output, where a training's lines are.
        self._run = self._wandb.init(project=project, dir=str(folder), config=config.to_json(), settings=quiet)

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Log the values of a step."""
        self._run.log(values | {"step": step})

    def figures(self, paths: Sequence[Path], step: int) -> None:
        """Log the pictures under their names."""
        self._run.log({path.stem: self._wandb.Image(str(path)) for path in paths})

    def close(self) -> None:
        """End the run."""
        self._run.finish()


def _text(config: RunConfig) -> str:
    import json

    return json.dumps(config.to_json(), indent=1)
