import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import REPOSITORY

from jaxae import AUTOENCODER, CONDITIONAL_VAE, DivergenceError, InputError, fit, load, load_run, parameters_of
from jaxae.data.dataset import Dataset, Split
from jaxae.errors import StoppedError
from jaxae.training.runtime import make_mesh
from jaxae.training.stop_signals import stop_signals

SMALL_VAE = CONDITIONAL_VAE.replace(epochs=2, batch_size=16, num_latent=5)
SMALL_AE = AUTOENCODER.replace(epochs=2, batch_size=16, hidden=(7,))


@pytest.fixture(scope="module")
def data() -> Dataset:
    digits = load("digits")
    # 70 examples: four batches of 16 and a smaller one of 6.
    return Dataset("digits", Split(*(a[:70] for a in digits.train)), Split(*(a[:20] for a in digits.test)), 10)


def lines(folder: Path) -> list[dict]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for record in records:
        del record["time"]
    return records


def assert_same_weights(first: Path, second: Path) -> None:
    assert (first / "weights.safetensors").read_bytes() == (second / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("config", [SMALL_AE, SMALL_VAE])
def test_training_lowers_the_cost_and_keeps_a_run(config, data, tmp_path):
    printed = []
    config = config.replace(epochs=4, learning_rate=0.01)
    result = fit(config, data, run_dir=tmp_path / "run", log_every=2, log=printed.append)
    tests = [line["test_cost"] for line in result.metrics if "test_cost" in line]
    assert len(tests) == 4
    assert tests[-1] < 0.95 * tests[0]
    assert printed[0].startswith("Epoch: 001/004 | Batch 000/005 | Cost: ")
    assert [line.split(" | ")[1] for line in printed[:3]] == ["Batch 000/005", "Batch 002/005", "Batch 004/005"]
    assert printed[3].startswith("Time elapsed: ")
    assert printed[-1].startswith("Total Training Time: ")
    assert lines(tmp_path / "run") == [
        {key: value for key, value in line.items() if key != "time"} for line in result.metrics
    ]
    stored, model = load_run(tmp_path / "run")
    assert stored == config
    jax.tree.map(np.testing.assert_array_equal, result.state.parameters, parameters_of(model))


def test_what_runs_after_each_epoch_sees_the_model_and_the_metrics(data):
    seen = []

    def note(model, metrics):
        seen.append((np.array(model.linear_1.kernel[...]), len(metrics)))

    result = fit(SMALL_AE, data, after_epoch=note)
    assert [count for _, count in seen] == [2, 4]
    assert not np.array_equal(seen[0][0], seen[1][0])
    assert np.array_equal(seen[1][0], parameters_of(result.model)["linear_1"]["kernel"])
    # It only looks: the training is the one without it.
    assert np.array_equal(seen[1][0], parameters_of(fit(SMALL_AE, data).model)["linear_1"]["kernel"])


def test_a_logged_cost_is_the_post_s_reduction(data):
    # Before the first step all logits are near 0: about log 2 per pixel, 784 log 2 per image.
    ae = fit(SMALL_AE.replace(epochs=1), data).metrics[0]
    assert ae["cost"] == pytest.approx(np.log(2), rel=0.1)
    assert ae["reconstruction"] == pytest.approx(784 * ae["cost"], rel=1e-5)
    vae = fit(SMALL_VAE.replace(epochs=1), data).metrics[0]
    assert vae["cost"] == pytest.approx(16 * (vae["reconstruction"] + vae["kl"]), rel=1e-5)


@pytest.mark.parametrize("replay", ["no", "torch"])
def test_resuming_is_as_if_never_stopped(replay, data, tmp_path):
    config = SMALL_VAE.replace(epochs=3, replay=replay)
    fit(config, data, run_dir=tmp_path / "whole", checkpoint_seconds=0)
    fit(config.replace(epochs=1), data, run_dir=tmp_path / "parts", checkpoint_seconds=0)
    fit(config, data, run_dir=tmp_path / "parts", checkpoint_seconds=0, resume=True)
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts")
    assert_same_weights(tmp_path / "whole", tmp_path / "parts")
    other = fit(config.replace(seed=1), data, run_dir=tmp_path / "other", checkpoint_seconds=0)
    assert lines(tmp_path / "other") != lines(tmp_path / "whole")
    assert len(other.metrics) == len(lines(tmp_path / "whole"))


def start(folder: Path) -> subprocess.Popen:
    command = [
        sys.executable,
        REPOSITORY / "scripts" / "train_ae.py",
        "--run-dir",
        folder,
        "--data",
        "digits",
        "--epochs",
        "60",
        "--log-every",
        "2",
        "--checkpoint-seconds",
        "0",
        "--devices",
        "2",
        "--hidden",
        "9",
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def newest_checkpoint(folder: Path) -> int:
    names = [path.name for path in (folder / "checkpoints").glob("[0-9]*")]
    return max((int(name) for name in names if name.isdigit()), default=0)


def wait_for_checkpoint(folder: Path, beyond: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while newest_checkpoint(folder) <= beyond:
        if time.monotonic() > deadline or process.poll() is not None:
            pytest.fail(f"no checkpoint beyond step {beyond}: {process.communicate()}")
        time.sleep(0.02)


def test_a_script_that_is_told_to_end_says_how_it_goes_on(tmp_path):
    """That killed trainings end as those that were not: `tests/fuzz`."""
    process = start(tmp_path / "run")
    wait_for_checkpoint(tmp_path / "run", 0, process)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, stderr
    assert "stopped by SIGTERM" in stderr
    assert "--resume" in stderr
    assert newest_checkpoint(tmp_path / "run") > 0


def test_a_signal_ends_a_training_after_what_it_is_at(data, tmp_path):
    def signalled(model, metrics):
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(
        StoppedError, match=r"stopped by SIGTERM after step 5, .*; --resume continues from there"
    ) as caught:
        fit(SMALL_AE, data, run_dir=tmp_path / "parts", after_epoch=signalled)
    assert caught.value.signal_number == signal.SIGTERM
    fit(SMALL_AE, data, run_dir=tmp_path / "parts", resume=True)
    fit(SMALL_AE, data, run_dir=tmp_path / "whole")
    assert_same_weights(tmp_path / "parts", tmp_path / "whole")


def test_a_second_signal_interrupts_at_once():
    with stop_signals() as stop:
        assert stop() is None
        signal.raise_signal(signal.SIGTERM)
        assert stop() == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_lines_that_no_one_takes_leave_a_checkpoint(data, tmp_path):
    """Whoever reads the lines goes in the middle of the second epoch: the steps up to there are kept."""

    def log(line: str) -> None:
        if line.startswith("Epoch: 002/002 | Batch 002"):
            raise BrokenPipeError("nobody reads this")

    with pytest.raises(BrokenPipeError, match="nobody reads this"):
        fit(SMALL_AE, data, run_dir=tmp_path / "run", log=log, log_every=2, checkpoint_seconds=1e9)
    assert newest_checkpoint(tmp_path / "run") > 5


def test_resuming_a_run_without_checkpoint_says_so(data, tmp_path):
    with pytest.warns(UserWarning, match="no checkpoint in .* starting from the beginning"):
        fit(SMALL_AE, data, run_dir=tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "weights.safetensors").exists()


def test_resuming_with_other_settings_names_them(data, tmp_path):
    fit(SMALL_AE, data, run_dir=tmp_path / "run")
    other = SMALL_AE.replace(learning_rate=0.5, hidden=(8,))
    with pytest.raises(InputError, match=r"hidden is \(8,\), was \(7,\); learning_rate is 0.5"):
        fit(other, data, run_dir=tmp_path / "run", resume=True)


def test_resuming_on_other_data_or_devices(data, tmp_path):
    fit(SMALL_AE, data, run_dir=tmp_path / "run", mesh=make_mesh(devices=1))
    more = SMALL_AE.replace(epochs=3)
    with pytest.warns(UserWarning, match="resuming with devices 2, not 1"):
        fit(more, data, run_dir=tmp_path / "run", resume=True, mesh=make_mesh(devices=2))
    other = Dataset("digits", Split(255 - data.train.images, data.train.labels), data.test, 10)
    with pytest.raises(InputError, match="got other data"):
        fit(more, other, run_dir=tmp_path / "run", resume=True, mesh=make_mesh(devices=1))


def test_a_run_is_not_overwritten(data, tmp_path):
    fit(SMALL_AE, data, run_dir=tmp_path / "run")
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    with pytest.raises(InputError, match="holds a run: --resume continues it"):
        fit(SMALL_AE, data, run_dir=tmp_path / "run")
    with pytest.raises(InputError, match="expected a run directory of ConditionalVAEConfig"):
        fit(SMALL_VAE, data, run_dir=tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(InputError, match="expected a new or empty run directory"):
        fit(SMALL_AE, data, run_dir=tmp_path / "full")
    with pytest.raises(InputError, match=r"expected a run directory that can be written, got .*: Not a directory"):
        fit(SMALL_AE, data, run_dir=tmp_path / "full" / "thesis.tex" / "run")


def test_divergence_stops_names_the_step_and_keeps_the_last_good_checkpoint(data, tmp_path):
    config = SMALL_AE.replace(epochs=30, learning_rate=1e37)
    with pytest.raises(DivergenceError, match=r"step \d+ \(epoch \d+, batch \d+\) is not finite"):
        fit(config, data, run_dir=tmp_path / "run", checkpoint_seconds=0)
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    for line in lines(tmp_path / "run"):
        assert np.isfinite(line.get("cost", 0.0))


@pytest.mark.parametrize(
    ("config", "match"),
    [
        (SMALL_AE.replace(batch_size=71), "batch size of at most the 70 training examples"),
        (SMALL_AE.replace(num_features=100), "examples of 100 features"),
        (SMALL_VAE.replace(num_classes=3), "labels of the model's 3 classes"),
    ],
)
def test_data_that_does_not_suit_the_model_is_refused(config, match, data):
    with pytest.raises(InputError, match=match):
        fit(config, data)


@pytest.mark.usefixtures("unchecked")
def test_images_of_another_shape_than_the_model_s_are_refused(data):
    train, test = (Split(split.images[:, :27], split.labels) for split in (data.train, data.test))
    with pytest.raises(InputError, match=r"expected images of shape Nx28x28x1, got 70x27x28x1"):
        fit(SMALL_VAE, replace(data, train=train, test=test))


def test_a_replay_has_no_corruption(data):
    with pytest.raises(InputError, match="expected no corruption in a replay"):
        fit(SMALL_AE.replace(replay="torch"), data, corrupt=lambda key, image: image)


@pytest.mark.parametrize("settings", [{"log_every": 0}, {"checkpoint_seconds": -1.0}])
def test_settings_out_of_range_are_refused(settings, data):
    with pytest.raises(InputError, match="expected"):
        fit(SMALL_AE, data, **settings)


def test_no_epochs_keep_the_initial_model(data, tmp_path):
    result = fit(SMALL_VAE.replace(epochs=0), data, run_dir=tmp_path / "run")
    assert int(result.state.step) == 0
    assert (tmp_path / "run" / "weights.safetensors").exists()
    assert os.listdir(tmp_path / "run" / "checkpoints") == []  # noqa: PTH208


def test_bfloat16_trains_float32_parameters(data):
    result = fit(SMALL_VAE.replace(dtype="bfloat16"), data)
    assert {leaf.dtype for leaf in jax.tree.leaves(result.state.parameters)} == {np.dtype("f4")}
    exact = fit(SMALL_VAE, data)
    first, second = result.metrics[0]["cost"], exact.metrics[0]["cost"]
    assert first != second
    # bfloat16 keeps 8 bits; measured 2e-5 of the cost here.
    assert first == pytest.approx(second, rel=1e-3)


@pytest.mark.parametrize(
    ("split", "change", "match"),
    [
        ("train", lambda images, labels: ((images * 1.0).astype("f"), labels), "expected float pixels in .*, got 255"),
        ("train", lambda images, labels: (images / np.float32(255) - 0.5, labels), "got -0.5"),
        ("test", lambda images, labels: (np.full(images.shape, np.nan, "f"), labels), "got NaN"),
        ("train", lambda images, labels: (images.astype(np.int32), labels), "expected pixels of uint8, .*got int32"),
        ("train", lambda images, labels: (images, labels + 5), "expected labels from 0 to 9, got 1"),
        ("test", lambda images, labels: (images, labels - 10), "expected labels from 0 to 9, got -"),
        ("train", lambda images, labels: (images, labels[:-1]), "expected a label for each of 70 images, got 69"),
        ("test", lambda images, labels: (images[:0], labels[:0]), "expected at least one image, got none"),
        ("test", lambda images, labels: (images[:, :27], labels), "expected images of shape Nx28x28x1, got"),
    ],
)
@pytest.mark.parametrize("config", [SMALL_AE, SMALL_VAE])
@pytest.mark.usefixtures("unchecked")
def test_what_the_loaders_refuse_is_refused_at_this_door_too(config, split, change, match, data, tmp_path):
    with pytest.raises(InputError, match=match):
        fit(config, replace(data, **{split: Split(*change(*getattr(data, split)))}), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
