"""SIGINT and SIGTERM, noted while a training finishes what it is at."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

StopSignal = Callable[[], int | None]


@contextmanager
def stop_signals() -> Iterator[StopSignal]:
    """Note SIGINT and SIGTERM instead of dying of them; the function given tells which came.

    A second one interrupts at once. Outside the main thread, where Python has no say over signals, none is noted.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def note(number: int, _: object) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, note) for number in numbers]
    try:
        yield lambda: received[0] if received else None
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
