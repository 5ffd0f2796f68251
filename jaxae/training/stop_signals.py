"""The signals that stop a process, noted while a training finishes what it is at."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from jaxae.ending import watched

StopSignal = Callable[[], int | None]


@contextmanager
def stop_signals() -> Iterator[StopSignal]:
    """Note SIGINT, SIGTERM and SIGHUP instead of dying of them; the function given tells which came.

    A second one interrupts at once. Outside the main thread, where Python has no say over signals, none is noted.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            return
        before = previous[number]
        if callable(before):
            before(number, frame)
        raise KeyboardInterrupt

    previous = {int(number): signal.getsignal(number) for number in watched()}
    for number in previous:
        signal.signal(number, note)
    try:
        yield lambda: received[0] if received else None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
