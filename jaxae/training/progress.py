"""Progress on standard error: a bar on a terminal, a line now and then elsewhere."""

import sys
import time

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Shows steps taken, time left, the last cost and images per second.

    Args:
        total: Number of steps of the whole training.
        done: Number of steps taken before.
        batch_size: Number of images per step.
        shown: Whether anything is shown.
    """

    def __init__(self, total: int, done: int, batch_size: int, *, shown: bool):
        self._bar = None
        self._total, self._first, self._batch_size = total, done, batch_size
        self._shown = shown
        self._begun = self._told = time.perf_counter()
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
        now = time.perf_counter()
        rate = self._steps * self._batch_size / (now - self._begun)
        if self._bar is not None:
            self._bar.update(self._task, advance=steps, cost=cost, rate=rate)
        elif self._shown and now - self._told >= _SECONDS_BETWEEN_LINES:
            self._told = now
            taken = self._first + self._steps
            left = (self._total - taken) * self._batch_size / rate
            print(
                f"step {taken:,} of {self._total:,}: cost {cost:.4f}, {rate:,.0f} images/s, {duration(left)} left",
                file=sys.stderr,
                flush=True,
            )

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def duration(seconds: float) -> str:
    """Seconds as people say them: "42 s", "1 min 30 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
