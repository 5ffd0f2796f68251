"""`--config`: a run is its file, and flags beside it change it."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from jaxae.cli import KLFlags, TrainFlags
from jaxae.config import AUTOENCODER, CONDITIONAL_VAE, CONV_VAE, DENSE_VAE, Reading, RunConfig, TrainConfig, read_config
from jaxae.data.dataset import load
from jaxae.errors import InputError
from jaxae.training.run_folder import RunFolder

READ = {"data": "mine/pictures", "reading": Reading(size=20, fit="pad", grey=True, test_share=0.25)}
TRAINED = {"epochs": 3, "batch_size": 7, "seed": 5, "grad_clip_norm": 2.0, "schedule": "linear", "dtype": "bfloat16"}
PIXELS = {"likelihood": "gaussian", "scale": "per-pixel", "scale_value": 0.2}
KL = {"beta": 0.5, "beta_warmup_epochs": 2, "free_bits": 0.1}
# With settings that are flags of the one command alone, and one that is no flag.
RUNS = {
    "train_ae.py": AUTOENCODER.replace(hidden=(5, 2), num_features=400, lowering="plain", **TRAINED, **READ),
    "train_cvae.py": CONDITIONAL_VAE.replace(
        num_latent=3, output_leaky_relu=False, lowering="plain", data_dir=Path("mine"), **TRAINED, **KL
    ),
    "train_dense_vae.py": DENSE_VAE.replace(
        hidden=(4,), activation="relu", num_classes=10, lowering="plain", **TRAINED, **KL, **READ
    ),
    "train_conv_vae.py": CONV_VAE.replace(
        widths=(2, 3),
        num_latent=3,
        height=20,
        width=20,
        channels=1,
        lowering="plain",
        **PIXELS,
        **TRAINED,
        **KL,
        **READ,
    ),
}


@pytest.fixture
def trained(command, monkeypatch, tmp_path):
    """The settings that a command trains with, where the training itself is left out."""
    came: list[RunConfig] = []

    def read(flags: TrainFlags, *, original_order: bool = False, quietly: bool = False):
        size = flags.size or 28
        return dataclasses.replace(load("digits", size=size), class_names=())

    def stop(config: RunConfig, *_: object, **__: object):
        came.append(config)
        raise InputError("expected no more of this test, got a training")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TrainFlags, "load", read)
    monkeypatch.setattr("jaxae.training.fit.fit", stop)

    def train(script: str, *flags: object) -> RunConfig:
        ended = command(script, *flags)
        assert ended.err == "error: expected no more of this test, got a training\n"
        return came.pop()

    return train


def written(config: RunConfig, path: Path) -> Path:
    path.write_text(json.dumps(config.to_json()))
    return path


@pytest.mark.parametrize("script", RUNS)
def test_a_run_is_its_file_and_flags_change_it(script, trained, tmp_path):
    path = written(RUNS[script], tmp_path / "config.json")
    assert trained(script, "--config", path) == RUNS[script]
    changed = trained(script, f"--config={path}", "--epochs", 4, "--schedule", "constant", "--size", 28)
    sizes = {name: 28 for name in ("height", "width") if script == "train_conv_vae.py"}
    features = {"num_features": 784} if script == "train_ae.py" else {}
    reading = dataclasses.replace(RUNS[script].reading, size=28)
    assert changed == RUNS[script].replace(epochs=4, schedule="constant", reading=reading, **sizes, **features)


def test_a_flag_that_says_what_is_usual_changes_a_file_too(trained, tmp_path):
    path = written(RUNS["train_cvae.py"], tmp_path / "config.json")
    changed = trained("train_cvae.py", "--epochs", 50, "--config", path, "--beta", 1, "--output-leaky-relu")
    assert changed == RUNS["train_cvae.py"].replace(epochs=50, beta=1.0, output_leaky_relu=True)


def test_the_dtype_of_a_file_follows_a_replay_unless_it_is_of_its_own(trained, tmp_path):
    for dtype, then in (("float32", "float64"), ("bfloat16", "bfloat16")):
        path = written(AUTOENCODER.replace(dtype=dtype), tmp_path / "config.json")
        assert trained("train_ae.py", "--config", path, "--replay", "torch").train.dtype == then
        assert trained("train_ae.py", "--config", path).train.dtype == dtype


def test_every_setting_of_a_training_is_a_flag():
    flags = {field.name for kind in (TrainFlags, KLFlags) for field in dataclasses.fields(kind)}
    assert {field.name for field in dataclasses.fields(TrainConfig)} <= flags


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model": CONDITIONAL_VAE.to_json()["model"]},
            "expected a configuration of AutoencoderConfig, got .*json of ",
        ),
        ({"train": {**AUTOENCODER.to_json()["train"], "sped": 1}}, "got one where .*unexpected keyword.*sped.*json"),
        ({"train": {**AUTOENCODER.to_json()["train"], "seed": "1"}}, "expected seed to be a whole number, got '1' in "),
        ({"reading": {"size": "28"}}, "expected size to be a whole number, got '28' in "),
        ({"reading": {"sise": 28}}, "got one where .*unexpected keyword.*sise"),
        ({"reading": [28]}, "expected a jaxae configuration, got one where "),
        ({"data_dir": 3}, "expected data_dir to be a Path, got 3 in "),
        ({"dat": "digits"}, "got one where .*unexpected keyword.*dat"),
        (None, "expected a run directory with a config.json, got no "),
    ],
)
def test_a_file_that_is_no_run_of_the_command_s_is_one_line(change, message, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.json"
    if change is not None:
        path.write_text(json.dumps(AUTOENCODER.to_json() | change))
    status, out, err = command("train_ae.py", "--data", "digits", "--config", path)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert re.search(message, err), err
    assert not (tmp_path / "runs").exists()


def test_a_run_of_a_run_s_file_has_its_bits(command, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxae.training.plots.draw_run", lambda *_, **__: [])
    own = ("--data", "digits", "--size", 12, "--hidden", 2, "--epochs", 1, "--batch-size", 200, "--seed", 9)
    first = command("train_ae.py", *own, "--run-dir", tmp_path / "first")
    second = command("train_ae.py", "--config", tmp_path / "first/config.json", "--run-dir", tmp_path / "second")
    assert (first.status, second.status) == (0, 0), first.err + second.err
    for name in ("config.json", "weights.safetensors"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert read_config(tmp_path / "second" / "config.json").reading == Reading(size=12)


def test_data_that_lie_elsewhere_now_hinder_no_resume(tmp_path):
    config = AUTOENCODER.replace(hidden=(3,))
    with RunFolder.open(tmp_path / "run", config):
        pass
    moved = config.replace(data_dir=Path("elsewhere"), reading=Reading(size=28))
    with RunFolder.open(tmp_path / "run", moved, resume=True) as folder:
        assert read_config(folder.config_file) == config  # until its checkpoint is found sound
