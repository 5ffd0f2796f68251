import json
import re
import subprocess
import sys
import warnings

import pytest
from conftest import REPOSITORY

from jaxae import AutoencoderConfig, ConditionalVAEConfig, DenseVAEConfig, load_run
from jaxae.errors import InputError

QUICK = ["--epochs", "1", "--devices", "2", "--data", "digits"]


def script(name: str, *flags: object) -> subprocess.CompletedProcess:
    command = [sys.executable, REPOSITORY / "scripts" / name, *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_the_main_job_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = script("train_cvae.py", *QUICK, "--batch-size", 512, "--log-every", 2)
    assert done.returncode == 0, done.stderr
    post = (
        r"Epoch: 001/001 \| Batch 000/003 \| Cost: \d+\.\d{4}\n"
        r"Epoch: 001/001 \| Batch 002/003 \| Cost: \d+\.\d{4}\n"
        r"Time elapsed: \d+\.\d\d min\nTotal Training Time: \d+\.\d\d min\n"
    )
    assert re.fullmatch(post, done.stdout)
    folder = tmp_path / "runs" / "cvae-digits-1"
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "checkpoints",
        "weights.safetensors",
        "costs.png",
        "reconstructions.png",
        "samples.png",
        "latent_map.png",
        "manifold.png",
    }
    assert load_run(folder)[0].train.batch_size == 512


def test_the_plain_vae_and_the_deep_autoencoder(tmp_path, command, monkeypatch):
    """Their figures: `tests/test_commands.py`, and the dense VAE's here."""
    monkeypatch.setattr("jaxae.training.plots.draw_run", lambda *_, **__: [])
    vae = command("train_cvae.py", *QUICK, "--epochs", 0, "--num-classes", 0, "--run-dir", tmp_path / "vae")
    assert vae.status == 0, vae.err
    assert load_run(tmp_path / "vae")[0].model == ConditionalVAEConfig(num_classes=0)
    hidden = ("--epochs", 0, "--hidden", 64, 8, "--activation", "tanh")
    deep = command("train_ae.py", *QUICK, *hidden, "--run-dir", tmp_path / "deep")
    assert deep.status == 0, deep.err
    assert load_run(tmp_path / "deep")[0].model == AutoencoderConfig(hidden=(64, 8), activation="tanh")
    monkeypatch.undo()
    dense = command("train_dense_vae.py", *QUICK, "--hidden", 20, 9, "--run-dir", tmp_path / "dense")
    assert dense.status == 0, dense.err
    config = load_run(tmp_path / "dense")[0]
    assert config.model == DenseVAEConfig(hidden=(20, 9))
    assert config.train.binarize
    assert (tmp_path / "dense" / "samples.png").exists()


def test_many_seeds_write_mean_and_deviation(tmp_path, command):
    done = command("train_ae.py", *QUICK, "--seeds", 3, "--run-dir", tmp_path / "many")
    assert done.status == 0, done.err
    assert re.match(r"Epoch: 001/001 \| Test cost: [\d.]+ ± [\d.]+ nats per image", done.out)
    (line,) = map(json.loads, (tmp_path / "many" / "metrics.jsonl").read_text().splitlines())
    assert line["seeds"] == [123, 124, 125]
    assert line["test_cost_mean"] == pytest.approx(sum(line["test_cost"]) / 3)
    assert line["test_cost_deviation"] > 0
    assert len(list((tmp_path / "many").glob("weights-seed-*.safetensors"))) == 3


def test_many_seeds_take_a_new_folder_and_are_not_resumed(tmp_path, command):
    (tmp_path / "kept").write_text("")
    for flags, message in (([], "expected the name of a new folder"), (["--resume"], "expected one seed with")):
        status, out, err = command("train_ae.py", *QUICK, "--seeds", 2, "--run-dir", tmp_path, *flags)
        assert (status, out) == (2, "")
        assert err.startswith(f"error: {message}")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_figures_that_cannot_be_drawn_end_no_training(tmp_path, command, monkeypatch):
    def refuse(*_: object, **__: object) -> list[str]:
        raise InputError("expected matplotlib, got none")

    monkeypatch.setattr("jaxae.training.plots.draw_run", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        status, _, err = command("train_ae.py", *QUICK, "--epochs", 0, "--hidden", 4, "--run-dir", tmp_path / "run")
    assert status == 0
    assert err.startswith(f"warning: no figures in {tmp_path / 'run'}: expected matplotlib, got none\n")
    assert (tmp_path / "run" / "weights.safetensors").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch-size", 0], "expected batch_size from 1 to 2147483647, got 0"),
        (["--batch-size", 70000], "expected a batch size of at most the 60000 training examples"),
        (["--learning-rate", -1], "expected learning_rate from 0 to 3.40282e+38, got -1.0"),
        (["--learning-rate", "nan"], "expected learning_rate from 0 to 3.40282e+38, got nan"),
        (["--epochs", -1], "expected epochs from 0 to 2147483647, got -1"),
        (["--seed", -1], "expected seed from 0 to 4294967295, got -1"),
        (["--data", "mnits"], "mnist"),
        (["--data", "mnist", "--data-dir", "/nowhere"], "expected a data_dir that can be read, got /nowhere"),
        (["--device", "gpu"], "expected a gpu that JAX can use, got only: cpu"),
        (["--devices", 0], "expected devices from 1 to 1024, got 0"),
        (["--run-dir", __file__], "expected a new or empty run directory"),
        (["--log-every", 0], "expected log_every from 1 to 2147483647, got 0"),
        (["--hidden", 0], "expected hidden from 1 to 2147483647, got 0"),
        (["--seeds", 0], "expected seeds from 1 to 2147483647, got 0"),
    ],
)
def test_bad_input_is_one_line_and_status_2(flags, message, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = command("train_ae.py", *flags)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "runs").exists()


def test_an_unknown_flag_is_refused(tmp_path):
    done = script("train_ae.py", "--leaning-rate", "1")
    assert done.returncode == 2
    assert "--learning-rate" in done.stderr


def test_divergence_is_one_line_and_status_1(tmp_path):
    done = script("train_ae.py", *QUICK, "--learning-rate", "1e37", "--run-dir", tmp_path / "run")
    assert done.returncode == 1
    assert re.fullmatch(r"error: the cost or gradient of step \d+ .*\n", done.stderr)


@pytest.mark.parametrize(
    ("shell", "status", "message"),
    [
        ('"$@" | head -1; exit ${PIPESTATUS[0]}', 141, ""),
        ('"$@" > /dev/full', 2, "error: expected room for what is written"),
        ('"$@" > /dev/null 2>&-', 0, ""),
        ('"$@" >&-', 0, ""),
    ],
    ids=["a pipe that closes", "a full device", "no standard error", "no standard output"],
)
def test_training_outlives_its_output(tmp_path, shell, status, message):
    flags = ["--data", "digits", "--epochs", "3", "--hidden", "4", "--run-dir", str(tmp_path / "run")]
    command = [sys.executable, str(REPOSITORY / "scripts" / "train_ae.py"), *flags]
    result = subprocess.run(["bash", "-c", shell, "_", *command], capture_output=True, text=True)
    assert result.returncode == status, result.stderr
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr
    assert message in result.stderr
    if status:  # what was done is kept, and can be gone on with
        resumed = script("train_ae.py", *flags, "--resume")
        assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "run" / "weights.safetensors").exists()
