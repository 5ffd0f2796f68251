"""What commands refuse before they do anything, each refusal by itself: `python -m tests.commands` tries all values."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from scripted import ended

from jaxae import InputError, bench
from jaxae.commands import translate
from jaxae.parity import published as logs
from jaxae.usecases import published

COMPARE = ("compare", "nothing:make", "nothing:make")
TRANSLATE = ("translate", "nothing:make")
REFUSED = {
    "a result that cannot be written": (("benchmark", "--json", "nowhere/a.json"), "got nowhere"),
    "one network": (
        ("compare", "nothing:make"),
        "expected two networks A and B to compare, or A alone and --record, got 1",
    ),
    "a recording of another ending": (
        ("compare", "nothing:make", "--record", "a.txt"),
        r"expected a file that ends in \.npz with --record, got a\.txt",
    ),
    "a comparison in the place of its inputs": ((*COMPARE, "--inputs", "mine", "--json", "mine"), "than those to read"),
    "a comparison of many steps": ((*COMPARE, "--steps", "1000000000"), "expected steps from 0 to"),
    "a comparison at no rate": ((*COMPARE, "--learning-rate", "nan"), "expected learning_rate from 0 to"),
    "a tolerance below zero": ((*COMPARE, "--tolerance", "-1"), "expected tolerance from 0 to"),
    "workers without number": (("check_parity", "--workers", "0"), "expected workers from 1 to"),
    "a figure in the place of a log": (("check_parity", "--log", "mine", "--json", "mine"), "than those to read"),
    "a figure of a log": (("check_parity", "--plot", "a.png", "--log", "a.txt"), "expected no --plot, which draws"),
    "a figure of published logs": (
        ("check_parity", "--plot", "a.png", "--published"),
        "expected no --plot, which draws trajectories, beside --published and --log, got one",
    ),
    "a figure of no trajectory": (
        ("check_parity", "--plot", "a.png", "--rungs", "layers"),
        "expected the rung trajectory with --plot, got only layers",
    ),
    "a log that is not published": (("check_parity", "--published", "mine"), "expected published logs"),
    "a port to nowhere": (
        ("port_weights", "a.pt"),
        "expected DST to write to, or --inspect alone, got both or neither",
    ),
    "a network without inputs": (
        ("port_weights", "a.pt", "b.npz", "--torch-model", "nothing:make"),
        "expected both --inputs and --torch-model, or neither, got one",
    ),
    "a translation in the place of its weights": (
        (*TRANSLATE, "--inputs", "2x3", "--weights", "mine", "--json", "mine"),
        "than those to read",
    ),
    "a translation of many steps": ((*TRANSLATE, "--inputs", "2x3", "--steps", "-1"), "expected steps from 0 to"),
    "a translation without inputs": (TRANSLATE, "expected --inputs, the shapes of the network's arguments, got none"),
    "a translation that is no Python": (
        (*TRANSLATE, "--inputs", "2x3", "--out", "a.txt"),
        r"expected a file that ends in \.py with --out, got a\.txt",
    ),
    "translated weights of another ending": (
        (*TRANSLATE, "--inputs", "2x3", "--save-weights", "a.pt"),
        r"expected a file that ends in \.safetensors with --save-weights, got a\.pt",
    ),
}


def never(*_: object, **__: object) -> None:
    pytest.fail("it was not refused")


@pytest.mark.parametrize("case", REFUSED)
def test_a_command_that_cannot_be_is_refused_before_anything_is_done(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("kept")
    monkeypatch.setattr(bench, "run", never)
    argv, message = REFUSED[case]
    end = ended(*argv)
    assert (end.status, end.out) == (2, "")
    assert re.search(message, end.err), end.err
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"mine": "kept"}


def test_without_torch_what_needs_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(translate, "find_spec", lambda name: None)
    end = ended("check_parity")
    assert (end.status, end.err) == (2, "error: expected torch to compare with, got none: pip install 'jaxae[torch]'\n")
    end = ended("translate", "nothing:make", "--inputs", "2x3")
    assert end.status == 2
    assert "expected torch, which runs the network to translate, got none: pip install" in end.err


def test_logs_are_held_against_the_data_before_the_first_is_replayed(monkeypatch):
    first, *others = logs.published_logs()
    found = [first, replace(others[0], batches=7)]
    for module in (logs, published):
        monkeypatch.setattr(module, "published_logs", lambda: found)
    monkeypatch.setattr(logs, "replay_published", never)
    monkeypatch.setattr(published, "_costs", never)
    end = ended("check_parity", "--published")
    assert end.status == 2
    assert "an epoch, got one of 7 batches" in end.err
    with pytest.raises(InputError, match="an epoch, got one of 7 batches"):
        published.run(published.PublishedSettings(data="mnist", parts=("costs",)))
