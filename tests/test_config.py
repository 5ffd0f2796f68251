import json
from pathlib import Path

import numpy as np
import pytest

from jaxae import (
    AUTOENCODER,
    CONDITIONAL_VAE,
    DENSE_VAE,
    AutoencoderConfig,
    ConditionalVAEConfig,
    ConvVAEConfig,
    DenseVAEConfig,
    InputError,
    RunConfig,
    TrainConfig,
)
from jaxae.config import read_config


@pytest.mark.parametrize(
    ("preset", "changes", "message"),
    [
        # Properties, methods and other models' fields are no settings.
        (AUTOENCODER, {"widths": (1, 2)}, r"expected settings of Auto.* got 'widths'"),
        (AUTOENCODER, {"from_probabilities": True}, "got 'from_probabilities'"),
        (AUTOENCODER, {"replace": 1}, "got 'replace'"),
        (AUTOENCODER, {"num_latent": 3, "sed": 1}, "got 'num_latent', 'sed'"),
        (CONDITIONAL_VAE, {"num_output_channels": 3}, "got 'num_output_channels'"),
        (AUTOENCODER, {"batch_size": 2.5}, "expected batch_size to be a whole number, got 2.5"),
        (AUTOENCODER, {"epochs": "5"}, "expected epochs to be a whole number, got '5'"),
        (AUTOENCODER, {"seed": True}, "expected seed to be a whole number, got True"),
        (AUTOENCODER, {"learning_rate": "x"}, "expected learning_rate to be a number, got 'x'"),
        (AUTOENCODER, {"learning_rate": False}, "expected learning_rate to be a number, got False"),
        (AUTOENCODER, {"hidden": 32}, "expected hidden to be a tuple, got 32"),
        (AUTOENCODER, {"hidden": (3.0,)}, "expected hidden to be a whole number, got 3.0"),
        (AUTOENCODER, {"hidden": "32"}, "expected hidden to be a tuple, got '32'"),
        (AUTOENCODER, {"activation": ["relu"]}, "expected activation to be one of leaky_relu"),
        (AUTOENCODER, {"data": None}, "expected data to be a str, got None"),
        (AUTOENCODER, {"model": None}, "expected model to be a .*AutoencoderConfig.*, got None"),
        (AUTOENCODER, {"train": {}}, "expected train to be a TrainConfig, got {}"),
        (CONDITIONAL_VAE, {"reconstruct_condition": 1}, "condition to be a bool, got 1"),
        (CONDITIONAL_VAE, {"num_classes": None}, "expected num_classes to be a whole number"),
        (DENSE_VAE, {"output_leaky_relu": False}, r"expected settings of Dense.* got 'output_leaky_relu'"),
        (DENSE_VAE, {"binarize": 1}, "expected binarize to be a bool, got 1"),
        (DENSE_VAE, {"replay": "torch-1"}, "expected no replay where pixels are binarized, got 'torch-1'"),
    ],
)
def test_a_setting_that_is_none_is_refused(preset, changes, message):
    with pytest.raises(InputError, match=message):
        preset.replace(**changes)


def test_settings_that_need_each_other_change_together():
    whole = CONDITIONAL_VAE.replace(reconstruct_condition=True)
    changed = whole.replace(num_classes=0, reconstruct_condition=False)
    assert changed == CONDITIONAL_VAE.replace(num_classes=0)
    assert whole.replace(reconstruct_condition=False, num_classes=0) == changed


def test_numbers_of_other_types_become_pythons():
    config = AUTOENCODER.replace(seed=np.int64(3), learning_rate=1, hidden=[np.int32(4), 2])
    assert (config.train.seed, config.train.learning_rate) == (3, 1.0)
    assert type(config.train.seed) is int
    assert config.model == AutoencoderConfig(hidden=(4, 2))
    assert hash(config) == hash(AUTOENCODER.replace(seed=3, learning_rate=1.0, hidden=(4, 2)))


@pytest.mark.parametrize("config", [AUTOENCODER, CONDITIONAL_VAE.replace(num_classes=0), DENSE_VAE])
def test_json_gives_the_configuration_back(config, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_json()))
    assert read_config(path) == config


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("train", "batch_size", 2.5),
        ("train", "epochs", "5"),
        ("train", "seed", True),
        ("train", "learning_rate", None),
        ("model", "hidden", [1.5]),
        ("model", "hidden", "32"),
        ("model", "num_features", {}),
        ("model", "kind", ["AutoencoderConfig"]),
    ],
)
def test_json_of_another_type_is_refused(part, name, value):
    document = AUTOENCODER.to_json()
    document[part][name] = value
    with pytest.raises(InputError, match=r"^expected "):
        RunConfig.from_json(document)


def test_ranges():
    for make in (
        lambda: AutoencoderConfig(hidden=()),
        lambda: AutoencoderConfig(num_features=0),
        lambda: ConditionalVAEConfig(num_latent=0),
        lambda: DenseVAEConfig(num_latent=0),
        lambda: DenseVAEConfig(hidden=(5, 0)),
        lambda: ConvVAEConfig(height=7, widths=(4, 4, 4)),
        lambda: ConvVAEConfig(channels=0),
        lambda: ConditionalVAEConfig(num_classes=0, reconstruct_condition=True),
        lambda: TrainConfig(epochs=-1, batch_size=1, learning_rate=0.1, seed=0),
        lambda: TrainConfig(epochs=1, batch_size=1, learning_rate=float("nan"), seed=0),
        lambda: TrainConfig(epochs=1, batch_size=1, learning_rate=0.1, seed=2**63),
    ):
        with pytest.raises(InputError, match=r"^expected "):
            make()


@pytest.mark.parametrize("name", ["a\nb", "n" * 3000])
def test_a_name_of_no_field_is_told_in_one_short_line(name):
    document = AUTOENCODER.to_json()
    document["train"][name] = 1
    with pytest.raises(InputError, match="unexpected keyword") as caught:
        RunConfig.from_json(document)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_what_is_no_run_is_told(tmp_path):
    path = tmp_path / "config.json"
    with pytest.raises(InputError, match=r"expected a run directory with a config\.json, got no "):
        read_config(path)
    with pytest.raises(InputError, match="expected a run directory that a file can be called"):
        read_config(Path("a\0b"))
    path.write_text('{"model": {"kind": "GAN"}, "train": {}, "data": "digits"}')
    with pytest.raises(InputError, match=r"expected a model of kind .*, got 'GAN' in .*config\.json"):
        read_config(path)
