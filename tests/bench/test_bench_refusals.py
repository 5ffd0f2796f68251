"""What a benchmark refuses before it measures, and what its workers tell of what went wrong."""

import io
import json
import os
from typing import Any

import pytest
from conftest import REPOSITORY

from jaxae import bench
from jaxae.bench import worker
from jaxae.bench.benchmark import BenchmarkSettings
from jaxae.bench.pair import compare as pairs
from jaxae.bench.pair.settings import PairSettings
from jaxae.bench.worker import WorkerError, answer, serve
from jaxae.commands import bench as command
from jaxae.errors import InputError

EARLIER = REPOSITORY / "docs" / "benchmark-cpu.json"


def fail(error: Exception) -> Any:
    raise error


HANDLERS = {
    "add": lambda first, second: first + second,
    "refuse": lambda: fail(InputError("expected a row,\ngot none")),
    "miss": lambda: fail(ModuleNotFoundError("No module named 'torch'")),
    "fill": lambda: fail(RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nwhile allocating")),
    "break": lambda: fail(KeyError()),
}
TROUBLE = [
    ("refuse", "input", "expected a row, got none"),
    ("miss", "missing", "ModuleNotFoundError: No module named 'torch'"),
    ("fill", "out of memory", "RuntimeError: RESOURCE_EXHAUSTED: Out of memory"),
    ("break", "failed", "KeyError"),
]


@pytest.mark.parametrize(("question", "kind", "reason"), TROUBLE)
def test_what_goes_wrong_in_a_handler_is_a_kind_of_trouble(question, kind, reason):
    with pytest.raises(WorkerError) as told:
        answer(HANDLERS, question)
    assert (told.value.kind, told.value.reason) == (kind, reason)


def test_a_worker_answers_after_trouble(tmp_path, monkeypatch):
    questions = [{"do": question} for question, _, _ in TROUBLE] + [{"do": "add", "first": 1, "second": 2}]
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{json.dumps(one)}\n" for one in questions)))
    monkeypatch.setattr(worker, "end_with_parent", lambda: None)
    kept = os.dup(1)
    with (tmp_path / "answers").open("wb") as answers:
        os.dup2(answers.fileno(), 1)
    try:
        serve(HANDLERS)
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    *troubles, last = map(json.loads, (tmp_path / "answers").read_text().splitlines())
    assert troubles == [{"error": kind, "reason": reason} for _, kind, reason in TROUBLE]
    assert last == {"answer": 3}


@pytest.mark.parametrize("flag", ["json", "plot", "page"])
def test_no_output_takes_the_place_of_the_earlier_result(flag, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "read", lambda path: fail(AssertionError("it was read first")))
    path = tmp_path / "earlier.json"
    path.write_bytes(EARLIER.read_bytes())
    with pytest.raises(InputError, match=r"^expected .*earlier\.json"):
        command.main(compare=path, **{flag: path})
    assert path.read_bytes() == EARLIER.read_bytes()


NOTHING: Any = None


def live() -> Any:
    """The measuring of live networks, which have torch imported."""
    pytest.importorskip("torch")
    return pairs.compare


@pytest.mark.parametrize(
    "measure",
    [
        lambda trace: bench.run(BenchmarkSettings(trace=trace)),
        lambda trace: pairs.compare_file("nowhere.py:make", PairSettings(trace=trace)),
        lambda trace: live()(*[NOTHING] * 5, settings=PairSettings(trace=trace)),
    ],
    ids=["models", "file", "live"],
)
@pytest.mark.usefixtures("unchecked")
def test_a_trace_into_what_is_there_is_refused_before_anything_is_measured(measure, tmp_path, monkeypatch):
    for module in (bench.benchmark, pairs):
        monkeypatch.setattr(module.environment, "usable_cores", lambda threads: fail(AssertionError("it went on")))
    with pytest.raises(InputError, match=rf"^expected the name of a new folder, got {tmp_path}$"):
        measure(tmp_path)
