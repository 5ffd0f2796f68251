"""Services that follow a training: what they got is what its metrics say."""

import json
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

QUICK = ("--data", "digits", "--epochs", 2, "--batch-size", 512, "--log-every", 2, "--devices", 1, "--hidden", 4)


def events(folder: Path) -> list[Any]:
    """The events of the newest file that tensorboardX wrote: records with their length in front."""
    from tensorboardX.proto import event_pb2

    found, content = [], max(folder.iterdir()).read_bytes()
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        found.append(vars(event_pb2)["Event"].FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return found


def test_tensorboard_has_the_numbers_of_the_metrics_and_the_figures(command, tmp_path):
    pytest.importorskip("tensorboardX")
    ended = command("train_ae.py", *QUICK, "--run-dir", tmp_path / "run", "--tensorboard")
    assert ended.status == 0, ended.err
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    wanted = {
        (name, line["step"]): value
        for line in lines
        for name, value in line.items()
        if name not in ("epoch", "step", "batch", "time")
    }
    values = [
        (event.step, value) for event in events(tmp_path / "run" / "tensorboard") for value in event.summary.value
    ]
    scalars = {(value.tag, step): value.simple_value for step, value in values if value.HasField("simple_value")}
    assert scalars == pytest.approx(wanted)
    pictures = {value.tag: value.image for _, value in values if value.HasField("image")}
    assert pictures.keys() == {path.stem for path in (tmp_path / "run").glob("*.png")}
    assert all(image.height > 100 for image in pictures.values())
    (config,) = (value.tensor.string_val for _, value in values if value.tag.startswith("config"))
    assert '"hidden"' in config[0].decode()


def test_weights_and_biases_offline(command, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    ended = command("train_ae.py", *QUICK, "--run-dir", tmp_path / "run", "--wandb", "mine")
    assert ended.status == 0, ended.err
    assert "wandb" not in ended.out
    (kept,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    content = kept.read_bytes()
    for name in (b"test_cost", b"reconstruction", b"mine", b"latent_map", b"hidden"):
        assert name in content


@pytest.mark.parametrize(("flag", "package"), [("--tensorboard", "tensorboardX"), ("--wandb=mine", "wandb")])
def test_what_is_not_installed_is_told_before_anything_is_trained(flag, package, command, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    ended = command("train_ae.py", *QUICK, "--run-dir", tmp_path / "run", flag)
    assert ended.status == 2
    name = package.lower().removesuffix("x")
    assert ended.err == f"error: expected the package {package}, got none: pip install 'jaxae[{name}]'\n"
    assert not (tmp_path / "run").exists()


def test_many_seeds_are_not_followed(command, tmp_path):
    ended = command("train_ae.py", *QUICK, "--seeds", 2, "--run-dir", tmp_path / "run", "--tensorboard")
    assert ended.status == 2
    assert "expected one seed with --tensorboard and --wandb, got 2" in ended.err


def test_a_training_that_is_refused_leaves_nothing(command, tmp_path):
    pytest.importorskip("tensorboardX")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("kept")
    ended = command("train_ae.py", *QUICK, "--run-dir", tmp_path / "run", "--tensorboard")
    assert ended.status == 2
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]
