import json

import numpy as np
import pytest

from jaxae import AUTOENCODER, InputError, load_run, load_weights, parameters_of, save_weights
from jaxae.network.models import with_parameters
from jaxae.training.run_folder import RunFolder, default_path
from jaxae.training.schedule import make_schedule

CONFIG = AUTOENCODER.replace(hidden=(3,), num_features=5)


@pytest.fixture
def parameters():
    return make_schedule(CONFIG, 300).init_parameters()


def test_the_default_path_is_the_first_free_one_and_to_resume_the_last(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert default_path("ae-emnist/digits").as_posix() == "runs/ae-emnist-digits-1"
    assert default_path("ae", resume=True).as_posix() == "runs/ae-1"
    for number in (1, 2):
        (tmp_path / "runs" / f"ae-{number}").mkdir(parents=True)
    assert default_path("ae").as_posix() == "runs/ae-3"
    assert default_path("ae", resume=True).as_posix() == "runs/ae-2"


def test_metrics_are_appended_and_cut_back(tmp_path):
    folder = RunFolder.open(tmp_path / "run", CONFIG)
    folder.write_metrics([])
    for step in range(3):
        folder.append_metrics({"epoch": 1, "step": step, "time": 2.5})
    assert [line["step"] for line in folder.truncate_metrics(2)] == [0, 1]
    assert folder.metrics_file.read_text().splitlines() == [
        '{"epoch": 1, "step": 0, "time": 2.5}',
        '{"epoch": 1, "step": 1, "time": 2.5}',
    ]


def test_weights_come_back_and_others_are_refused(tmp_path, parameters):
    folder = RunFolder.open(tmp_path / "run", CONFIG)
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
    folder = RunFolder.open(tmp_path / "run", CONFIG)
    written = folder.config_file.read_bytes()
    with pytest.raises(InputError, match="holds a run: --resume continues it"):
        RunFolder.open(folder.path, CONFIG)
    with pytest.raises(InputError, match="got others: seed is 4, was 123"):
        RunFolder.open(folder.path, CONFIG.replace(seed=4), resume=True)
    assert folder.config_file.read_bytes() == written
    # More epochs go on with the same training.
    RunFolder.open(folder.path, CONFIG.replace(epochs=99), resume=True)
    assert json.loads(folder.config_file.read_text())["train"]["epochs"] == 99
