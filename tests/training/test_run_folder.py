import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY

from jaxae import AUTOENCODER, InputError, load_run, load_weights, parameters_of, save_weights
from jaxae.config import RunConfig
from jaxae.network.models import with_parameters
from jaxae.training.run_folder import RunFolder, default_path
from jaxae.training.schedule import make_schedule

CONFIG = AUTOENCODER.replace(hidden=(3,), num_features=5)


@pytest.fixture
def parameters():
    return make_schedule(CONFIG, 300).init_parameters()


def opened(path: Path, config: RunConfig, *, resume: bool = False) -> RunFolder:
    with RunFolder.open(path, config, resume=resume) as folder:
        return folder


def test_the_default_path_is_the_first_free_one_and_to_resume_the_last(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert default_path("ae-emnist/digits").as_posix() == "runs/ae-emnist-digits-1"
    assert default_path("ae", resume=True).as_posix() == "runs/ae-1"
    for number in (1, 2):
        (tmp_path / "runs" / f"ae-{number}").mkdir(parents=True)
    assert default_path("ae").as_posix() == "runs/ae-3"
    assert default_path("ae", resume=True).as_posix() == "runs/ae-2"


def test_metrics_are_appended_and_cut_back(tmp_path):
    folder = opened(tmp_path / "run", CONFIG)
    folder.write_metrics([])
    for step in range(3):
        folder.append_metrics({"epoch": 1, "step": step, "time": 2.5})
    assert [line["step"] for line in folder.truncate_metrics(2)] == [0, 1]
    assert folder.metrics_file.read_text().splitlines() == [
        '{"epoch": 1, "step": 0, "time": 2.5}',
        '{"epoch": 1, "step": 1, "time": 2.5}',
    ]


def test_weights_come_back_and_others_are_refused(tmp_path, parameters):
    folder = opened(tmp_path / "run", CONFIG)
    with pytest.raises(InputError, match="expected the weights of a finished run"):
        load_run(folder.path)
    save_weights(folder.weights_file, CONFIG, parameters)
    config, model = load_run(folder.path)
    assert config == CONFIG
    found, expected = parameters_of(model), parameters_of(with_parameters(CONFIG.model, parameters))
    for layer, leaves in expected.items():
        for name, leaf in leaves.items():
            assert np.array_equal(found[layer][name], leaf)
    with pytest.raises(InputError, match=r"expected the weights of .*hidden=\(4,\)"):
        load_weights(folder.weights_file, CONFIG.replace(hidden=(4,)).model)


def test_a_folder_is_opened_once_and_resumed_with_its_own_settings(tmp_path):
    folder = opened(tmp_path / "run", CONFIG)
    written = folder.config_file.read_bytes()
    with pytest.raises(InputError, match="holds a run: --resume continues it"):
        opened(folder.path, CONFIG)
    with pytest.raises(InputError, match="got others: seed is 4, was 123"):
        opened(folder.path, CONFIG.replace(seed=4), resume=True)
    assert folder.config_file.read_bytes() == written
    # More epochs go on with the same training, and are written once its checkpoint is found sound.
    opened(folder.path, CONFIG.replace(epochs=99), resume=True)
    assert folder.config_file.read_bytes() == written


def test_fewer_epochs_are_refused_and_say_how_they_are_meant(tmp_path):
    opened(tmp_path / "run", CONFIG.replace(epochs=7))
    with pytest.raises(InputError, match=r"expected 7 epochs or more to resume .* got 6: more continue"):
        opened(tmp_path / "run", CONFIG.replace(epochs=6), resume=True)


def test_what_killed_processes_had_begun_is_dropped_and_nothing_else(tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints" / "4").mkdir(parents=True)
    mine = [".my.password.txt", ".costs.png", ".config.short.json", ".git"]
    partial = [
        ".config.a_b1c2d3.json",
        ".metrics.abcdefgh.jsonl",
        ".weights.abcdefgh.safetensors",
        ".costs.12345678.png",
    ]
    partial += ["checkpoints/4/.sha256.abcdefgh.json"]
    (folder / partial[0]).touch()
    with pytest.raises(InputError, match="expected a new or empty run directory"):
        opened(folder, CONFIG)
    (folder / "checkpoints" / "4").rmdir()
    (folder / "checkpoints").rmdir()
    opened(folder, CONFIG)  # killed before it had any settings
    assert [one.name for one in folder.iterdir()] == ["config.json"]
    (folder / "checkpoints" / "4").mkdir(parents=True)
    for name in (*mine, *partial):
        (folder / name).touch()
    with pytest.raises(InputError, match="got others"):
        opened(folder, CONFIG.replace(seed=4), resume=True)
    assert all((folder / name).exists() for name in (*mine, *partial))
    opened(folder, CONFIG, resume=True)
    left = {str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file()}
    assert left == {*mine, "config.json"}


HOLDING = """
import sys, time
from pathlib import Path
from jaxae.config import AUTOENCODER
from jaxae.training.run_folder import RunFolder
with RunFolder.open(Path(sys.argv[1]), AUTOENCODER):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_folder_is_held_by_one_process_and_free_when_that_is_killed(tmp_path):
    path = tmp_path / "run"
    command = [sys.executable, "-c", HOLDING, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="no other process trains in"):
            opened(path, AUTOENCODER, resume=True)
        holder.kill()
    opened(path, AUTOENCODER, resume=True)
    assert [one.name for one in path.iterdir()] == ["config.json"]


def test_folders_of_others_and_odd_names_are_refused_and_left_as_they_are(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("notes", "file"):
        with pytest.raises(InputError, match="expected a new or empty run directory"):
            opened(tmp_path / name, CONFIG)
    with pytest.raises(InputError, match="expected a run directory that a file can be called"):
        opened(tmp_path / ("x" * 300), CONFIG)
    odd = tmp_path / os.fsdecode(b"run-\xff")
    with pytest.raises(InputError, match="whose name is UTF-8"):
        opened(odd, CONFIG)
    assert sorted(one.name for one in tmp_path.rglob("*")) == ["a.txt", "file", "notes"]


def test_files_of_a_run_that_cannot_be_written_are_named(tmp_path):
    folder = RunFolder(tmp_path)
    folder.config_file.mkdir()
    folder.metrics_file.mkdir()
    line = {"epoch": 1, "step": 0, "time": 2.5}
    way_on = "; with room on the disk, --resume goes on from the last checkpoint"
    refused = r"expected a file that can be written, got .*metrics\.jsonl: Is a directory"
    with pytest.raises(InputError, match=refused + way_on):
        folder.append_metrics(line)
    for write, then in (
        (lambda: folder.write_config(CONFIG), "$"),
        (lambda: folder.write_metrics([line]), "$"),
        (lambda: folder.truncate_metrics(0), way_on),
    ):
        with pytest.raises(InputError, match=rf"expected the name of a file to write, got the folder \S+{then}"):
            write()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["config.json", "metrics.jsonl"]


FULL = """
import json, resource, signal, sys
import jaxae
from jaxae.data.dataset import Dataset, Split
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
digits = jaxae.load("digits")
data = Dataset("digits", Split(*(a[:64] for a in digits.train)), Split(*(a[:20] for a in digits.test)), 10)
for folder, epochs, most in json.loads(sys.argv[1]):
    config = jaxae.AUTOENCODER.replace(epochs=epochs, batch_size=32, hidden=(3,))
    resource.setrlimit(resource.RLIMIT_FSIZE, (most or resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    try:
        jaxae.fit(config, data, run_dir=folder, resume=True, checkpoint_seconds=0)
    except jaxae.InputError as error:
        print("refused:", error)
"""


def test_a_disk_that_fills_up_loses_nothing(tmp_path):
    """Files may grow to a limit and no further, as on a full disk: at the settings, then at a checkpoint."""

    def train(*trainings: tuple[Path, int, int]) -> str:
        """Trainings by folder, epochs and the largest size of a file, 0 for any."""
        told = json.dumps([(str(folder), *numbers) for folder, *numbers in trainings])
        command = [sys.executable, "-c", FULL, told]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        assert "Traceback" not in done.stderr
        return done.stdout

    whole = opened(tmp_path / "whole", AUTOENCODER.replace(epochs=1, batch_size=32, hidden=(3,))).path
    train((whole, 1, 0))
    full = [shutil.copytree(whole, tmp_path / str(limit)) for limit in (200, 20_000)]
    messages = train((whole, 2, 0), *((path, 2, int(path.name)) for path in full)).splitlines()
    assert len(messages) == 2
    for message, path in zip(messages, full, strict=True):
        assert message.startswith("refused: expected ")
        assert len(message) < 500
        assert not list(path.rglob("*orbax-checkpoint-tmp*"))
    assert not train(*((path, 2, 0) for path in full))
    for path in full:
        assert (path / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
        assert {one.name for one in path.iterdir()} == {one.name for one in whole.iterdir()}


def test_a_new_folder_whose_settings_cannot_be_written_is_not_left(tmp_path, monkeypatch):
    """One that was there stays."""

    def refuse(self, config):
        raise InputError("expected room on the disk, got none")

    monkeypatch.setattr(RunFolder, "write_config", refuse)
    (tmp_path / "there").mkdir()
    for name in ("there", "new"):
        with pytest.raises(InputError, match=r"^expected room on the disk, got none$"):
            opened(tmp_path / name, CONFIG)
    assert [one.name for one in tmp_path.iterdir()] == ["there"]
