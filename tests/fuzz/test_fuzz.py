"""Altered files of every kind are refused in one line or read: a short form of `python -m tests.fuzz`."""

import dataclasses
import json
import shutil
from pathlib import Path
from random import Random

import pytest

from jaxae.errors import InputError

from .kills import Kept, Killer
from .mutants import mutant
from .outcome import MEMORY, Outcome, read
from .readers import READERS, Reader
from .runner import Runner, shares
from .samples import write_samples

pytest.importorskip("torch")  # which makes the sound files

COUNTS = {"run": 4, "run-unsummed": 3, "many": 8, "codec": 6, "records": 30}
COUNTS |= {"compressed": 40, "picture": 150, "benchmark": 60}


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder, READERS)
    return folder


@pytest.mark.parametrize("name", READERS)
def test_altered_files_are_refused_or_read(name, samples, tmp_path):
    reader, sound, folder = READERS[name], samples / name, tmp_path / "folder"
    if reader.whole:
        shutil.copytree(sound, tmp_path / "sound")
    strays, seen = [], set()
    for number in range(COUNTS.get(name, 120)):
        altered = mutant(sound, name, 1, number)
        outcome = read(reader, altered.place(sound, folder, whole=reader.whole))
        shutil.rmtree(folder)
        seen.add(outcome.kind)
        # The clock is no business of this test's.
        if outcome.kind == "stray" and not outcome.slow:
            strays.append(f"{number} ({altered.name}): {outcome.reason}")
    assert not strays, "\n".join(strays)
    assert "refused" in seen or reader.share < 3  # of which there are few here, and most is gone on from


def test_a_number_makes_the_same_file_again(samples):
    for name in ("torch", "npz", "log"):
        made = [mutant(samples / name, name, 1, number) for number in range(20)]
        assert made == [mutant(samples / name, name, 1, number) for number in range(20)]
        assert made != [mutant(samples / name, name, 2, number) for number in range(20)]


def raiser(error: BaseException) -> Reader:
    def refuse(path: Path) -> None:
        raise error

    return Reader(refuse, ())


def from_memory() -> InputError:
    error = InputError("expected a small file, got another")
    error.__cause__ = MemoryError()
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InputError("expected a file, got none"), "refused"),
        (InputError("expected a file,\ngot none"), "stray"),
        (InputError("expected " + 500 * "x"), "stray"),
        (InputError("a file is damaged"), "stray"),
        (ValueError("expected a file, got none"), "stray"),
        (KeyboardInterrupt(), "stray"),
        (from_memory(), "stray"),
    ],
)
def test_a_stray_is_told_from_a_refusal(error, kind, tmp_path):
    assert read(raiser(error), tmp_path).kind == kind


def test_a_refused_file_is_as_it_was(tmp_path):
    def spoil(path: Path) -> None:
        path.write_bytes(b"spoilt")
        raise InputError("expected a file, got none")

    (tmp_path / "file").write_bytes(b"as it was")
    assert "changed" in read(Reader(spoil, ()), tmp_path / "file").reason


def test_memory_is_measured(tmp_path):
    def hungry(path: Path) -> None:
        bytearray(MEMORY + (64 << 20))

    outcome = read(Reader(hungry, ()), tmp_path)
    assert (outcome.kind, outcome.slow) == ("stray", True)
    assert read(Reader(lambda path: None, ()), tmp_path).kind == "sound"


CHILD = """
import json, os, signal, sys

first, count = map(int, sys.argv[4:6])
for number in range(first, first + count):
    if number == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    print(json.dumps({sound!r}), flush=True)
"""


def test_the_file_that_a_process_dies_of_is_kept(samples, tmp_path):
    sound = dataclasses.asdict(Outcome("sound", 0.1, 5))
    program = ("-c", CHILD.format(sound=sound))
    tally = Runner(samples, tmp_path, 1, program=program).run({"npz": 6})["npz"]
    assert tally.counts == {"refused": 0, "sound": 5, "stray": 1}
    (folder,) = tally.strays
    kept = mutant(samples / "npz", "npz", 1, 3)
    assert (folder / kept.name).read_bytes() == kept.content
    assert "status -11" in (folder / "reason.txt").read_text()


def test_shares_are_of_the_whole():
    assert sum(shares(list(READERS), 1000).values()) >= 1000
    assert shares(["npz"], 7) == {"npz": 7}


def test_a_killed_training_is_resumed_to_the_same_bits(tmp_path):
    killer = Killer(tmp_path, Random(0))
    whole = killer.whole(warm=False)
    kept, faults = killer.killed("killed", 1)
    assert faults + kept.faults(whole) == []
    assert killer.done + killer.late == 1


def test_what_a_kill_lost_is_found(tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints" / "4").mkdir(parents=True)
    (run / "weights.safetensors").write_bytes(b"weights")
    (run / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "time": 0.0}) + "\n")
    whole = Kept.of(run)
    assert Kept.of(run).faults(whole) == []
    (run / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "time": 9.0}) + "\n")
    assert Kept.of(run).faults(whole) == []
    (run / ".weights.x.safetensors").touch()
    (run / "checkpoints" / "8.tmp").mkdir()
    (run / "weights.safetensors").write_bytes(b"others")
    (run / "metrics.jsonl").write_text(json.dumps({"epoch": 2, "time": 0.0}) + "\n")
    assert len(Kept.of(run).faults(whole)) == 4
