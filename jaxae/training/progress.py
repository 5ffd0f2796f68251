"""A progress bar on standard error, silent where that is no terminal."""

import sys
import time


class Progress:
    """Shows steps, the last cost and images per second."""

    def __init__(self, total: int, done: int, batch_size: int, *, shown: bool):
        self._bar = None
        self._batch_size = batch_size
        self._begun = time.perf_counter()
        self._steps = 0
        if shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("step"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("cost {task.fields[cost]:.4f}, {task.fields[rate]:,.0f} images/s"),
                console=Console(stderr=True),
                # The log lines on standard output are the post's, to the letter.
                redirect_stdout=False,
            )
            self._task = self._bar.add_task("", total=total, completed=done, cost=0.0, rate=0.0)

    def advance(self, steps: int, cost: float) -> None:
        """Count steps as taken."""
        self._steps += steps
        if self._bar is not None:
            rate = self._steps * self._batch_size / (time.perf_counter() - self._begun)
            self._bar.update(self._task, advance=steps, cost=cost, rate=rate)

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
