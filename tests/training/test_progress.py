import re
import time

from jaxae.training import progress
from jaxae.training.progress import Progress


def test_without_a_terminal_a_line_now_and_then_tells_the_time_left(capsys, monkeypatch):
    clock = iter([0.0, 1.0, 12.0, 13.0, 40.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    with Progress(1000, 100, 10, shown=True) as shown:
        for _ in range(4):
            shown.advance(100, 0.5)
    lines = capsys.readouterr().err.splitlines()
    # 200 steps in 12 s, 700 to go; 400 in 40 s, 500 to go.
    assert lines == [
        "step 300 of 1,000: cost 0.5000, 167 images/s, 42 s left",
        "step 500 of 1,000: cost 0.5000, 100 images/s, 50 s left",
    ]


def test_nothing_is_shown_unasked(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    with Progress(10, 0, 1, shown=False) as hidden:
        hidden.advance(5, 0.5)
    assert capsys.readouterr().err == ""
    with Progress(3700, 0, 1, shown=True) as shown:
        shown.advance(1, 0.5)
    assert re.search(r" left$", capsys.readouterr().err)
