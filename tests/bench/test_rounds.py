"""Rounds on a machine that does other work too."""

import os
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from jaxae.bench import BenchmarkResult, ContenderResult, other_load
from jaxae.bench.other_load import share_of_others, used
from jaxae.bench.report import notes
from jaxae.bench.rounds import time_in_turns


class Scripted:
    """A worker whose turns take 1 ms, 2 ms, and so on, while others use some share of a core."""

    def __init__(self, *others):
        self.others, self.turns = others, 0

    def ask(self, do, **fields):
        self.turns += 1
        return self.turns * 1.0, 0, 0.0, self.others[self.turns - 1]


@pytest.mark.parametrize(
    ("one", "other", "times", "repeated", "disturbed"),
    [
        ((0.0, 0.2, 0.1), (None, 0.0, 0.0), (1.0, 2.0, 3.0), 0, 0),
        # The round as a whole is taken again: contenders are compared within rounds.
        ((0.0, 0.3, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0), (1.0, 3.0, 4.0), 1, 0),
        ((0.0, 0.0, 0.0, 0.0, 0.0), (0.3, 0.0, 0.9, 0.0, 0.0), (2.0, 4.0, 5.0), 2, 0),
        # No more than three for three.
        ((1.0,) * 6, (1.0,) * 6, (4.0, 5.0, 6.0), 3, 3),
    ],
)
def test_a_round_that_other_work_disturbs_is_taken_again_or_told_of(one, other, times, repeated, disturbed):
    row = ContenderResult("ae", "jax_step", "JAX step by step", "jax", "logits", 64, 1, "cpu")
    rows = {"jax_step": row, "torch_eager": replace(row, contender="torch_eager")}
    workers: Any = {"jax_step": Scripted(*one), "torch_eager": Scripted(*other)}
    time_in_turns(workers, rows, 3, lambda number: None)
    for row in rows.values():
        assert (row.samples_ms, row.repeated_rounds, row.disturbed_rounds) == (times, repeated, disturbed)
    quiet: Any = SimpleNamespace(load_before=0.0)
    told = list(notes(BenchmarkResult(quiet, rows=tuple(rows.values()))))
    wanted = (
        f"other work disturbed {repeated} rounds, which were taken again; of 3 that count {disturbed} were disturbed"
    )
    assert [wanted in line for line in told] == ([True] if repeated else [])


def test_what_others_use_is_what_is_used_of_the_own_cores_and_not_by_oneself(tmp_path, monkeypatch):
    monkeypatch.setattr(other_load, "TABLE", tmp_path / "stat")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 3})
    monkeypatch.setattr(os, "sysconf", lambda name: 100)

    def moment(wall, own, *lines):
        (tmp_path / "stat").write_text("\n".join(["cpu  9 9 9 9 9 9 9 9 9 9", *lines, "intr 5 4 3"]))
        found = used()
        assert found is not None
        return found._replace(wall=wall, own=own)

    before = moment(0.0, 5.0, "cpu0 0 0 0 0 0 0 0 0 0 0", "cpu1 0 0 0 0 0 0 0 0 0 0", "cpu3 9 0 0 0 0 0 0 0 0 0")
    # User, nice, system, idle, waiting for a disk, interrupts, soft interrupts, steal, and guests, who are users too.
    after = moment(
        1.0, 5.5, "cpu0 90 0 0 0 0 0 0 0 0 0", "cpu1 10 20 10 77 66 5 5 10 88 99", "cpu3 39 0 0 0 0 0 0 0 0 0"
    )
    assert share_of_others(before, after) == pytest.approx(0.9 - 0.5)
    assert share_of_others(before, after._replace(own=9.0)) == 0.0
    # In so short a time hundredths of a second tell nothing.
    assert share_of_others(before, after._replace(wall=0.1)) is None
    assert share_of_others(None, after) is None
    (tmp_path / "stat").unlink()
    assert used() is None
