"""How a training is kept in its run folder as it goes on."""

import time
import warnings
from dataclasses import dataclass, field

from jaxae.config import RunConfig
from jaxae.training.checkpoint import Checkpoints
from jaxae.training.run_folder import Circumstances, MetricsLine, RunFolder
from jaxae.training.state import TrainState


@dataclass
class Keeper:
    """Keeps a training in its run folder: metrics, checkpoints, and the way back to them."""

    folder: RunFolder
    checkpoints: Checkpoints
    seconds: float
    config: RunConfig
    circumstances: Circumstances
    saved_at: float = field(default_factory=time.monotonic)

    def resume(self, like: TrainState) -> tuple[TrainState, list[MetricsLine]] | None:
        """The newest checkpoint's state and metrics; None, with a warning, where there is none.

        Only then are the folder's settings those of this training: what refuses leaves them as they were.
        """
        restored = self.checkpoints.restore(like)
        if restored is None:
            warnings.warn(f"no checkpoint in {self.folder.path} yet: starting from the beginning", stacklevel=4)
            self.folder.write_config(self.config)
            return None
        self.circumstances.check(restored.meta, self.folder.path)
        metrics = self.folder.truncate_metrics(restored.meta["metrics_lines"])
        self.folder.write_config(self.config)
        return restored.state, metrics

    def save(self, state: TrainState, metrics_lines: int, *, force: bool) -> None:
        """Save a checkpoint, unless one was saved a short while ago and none is forced."""
        if not force and time.monotonic() - self.saved_at < self.seconds:
            return
        meta = {"config": self.config.to_json(), "metrics_lines": metrics_lines, **self.circumstances.to_json()}
        self.checkpoints.save(state, meta)
        self.saved_at = time.monotonic()
