"""A training that reads its data from disk is, to the bits, that of the same data in memory."""

import os
import signal
import threading
import time
from typing import Any

import jax
import numpy as np
import pytest

from jaxae import (
    AUTOENCODER,
    DENSE_VAE,
    Dataset,
    InputError,
    Split,
    StreamedDataset,
    fit,
    load,
    save_arrays,
    stream,
    write_stream,
)
from jaxae.config import RunConfig
from jaxae.errors import StoppedError
from jaxae.training.fit import FitResult
from jaxae.training.many import fit_many
from jaxae.training.runtime import make_mesh
from jaxae.training.trainer import Trainer

DIGITS = load("digits")
# 70 examples: four batches of 15 and a smaller one of 10, which four devices do not divide.
DATA = Dataset("digits", Split(*(a[:70] for a in DIGITS.train)), Split(*(a[:20] for a in DIGITS.test)), 10)
AE = AUTOENCODER.replace(epochs=3, batch_size=15, hidden=(7,), keep="best")
VAE = DENSE_VAE.replace(epochs=2, batch_size=15, num_latent=3, hidden=(7,))
REPLAY = VAE.replace(binarize=False, replay="torch", epochs=1)


@pytest.fixture(scope="module")
def streamed(tmp_path_factory) -> StreamedDataset:
    folder = tmp_path_factory.mktemp("records") / "digits"
    write_stream(folder, [DATA.train], [DATA.test], num_classes=10)
    return stream(folder)


def assert_same(one: FitResult, other: FitResult) -> None:
    jax.tree.map(np.testing.assert_array_equal, one.state, other.state)
    assert [{**line, "time": 0} for line in one.metrics] == [{**line, "time": 0} for line in other.metrics]


def train(config: RunConfig, data: Dataset | StreamedDataset, devices: int = 1, **settings: Any) -> FitResult:
    """Train in chunks of two steps, a checkpoint being kept whenever one can be."""
    return fit(config, data, mesh=make_mesh(devices=devices), log_every=2, checkpoint_seconds=0, **settings)


def readers_left() -> list[str]:
    """Grain's threads that still read, after a moment."""
    for _ in range(100):
        if not (left := [one.name for one in threading.enumerate() if one.name.startswith("grain")]):
            break
        time.sleep(0.05)
    return left


@pytest.mark.parametrize(("config", "devices"), [(AE, 1), (AE, 4), (VAE, 4), (REPLAY, 1)])
def test_a_streamed_training_is_that_in_memory(config, devices, streamed):
    assert_same(*(train(config, data, devices) for data in (DATA, streamed)))


def stop_at(take: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send this process SIGTERM as it takes so many chunks."""
    own, left = Trainer.take, [take]

    def counted(self, *arguments):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return own(self, *arguments)

    monkeypatch.setattr(Trainer, "take", counted)


@pytest.mark.parametrize("begins_streamed", [True, False])
def test_a_training_resumes_in_the_middle_of_an_epoch(begins_streamed, streamed, tmp_path, monkeypatch):
    """Where it stopped decides what is read; so one may go on from memory to disk, and back."""
    whole = train(AE, DATA)
    first, then = (streamed, DATA) if begins_streamed else (DATA, streamed)
    with monkeypatch.context() as patch:
        stop_at(5, patch)
        with pytest.raises(StoppedError, match="after step 9,"):
            train(AE, first, run_dir=tmp_path / "run")
    assert not readers_left()
    found = train(AE, then, run_dir=tmp_path / "run", resume=True)
    jax.tree.map(np.testing.assert_array_equal, whole.state, found.state)


def test_only_what_is_left_of_an_epoch_is_read(streamed, tmp_path, monkeypatch):
    """Of 70 images in an epoch, those of the first four steps are not read again."""
    config = AE.replace(epochs=1)
    with monkeypatch.context() as patch:
        stop_at(2, patch)
        with pytest.raises(StoppedError, match="after step 4,"):
            train(config, streamed, run_dir=tmp_path / "run")
    read: list[int] = []
    own = type(streamed.train.shards).read
    monkeypatch.setattr(
        type(streamed.train.shards), "read", lambda self, numbers: read.extend(numbers) or own(self, numbers)
    )
    train(config, streamed, run_dir=tmp_path / "run", resume=True)
    assert len(read) == len({*read}) == 10


def test_shards_of_other_data_are_not_resumed_on(streamed, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(2, patch)
        with pytest.raises(StoppedError):
            train(AE, streamed, run_dir=tmp_path / "run")
    write_stream(tmp_path / "other", [(255 - DATA.train.images, DATA.train.labels)], [DATA.test], num_classes=10)
    with pytest.raises(InputError, match=r"expected the data that .*run was trained on, got other data"):
        train(AE, stream(tmp_path / "other"), run_dir=tmp_path / "run", resume=True)


def test_a_damaged_record_ends_a_training_in_one_line(tmp_path):
    write_stream(tmp_path / "records", [DATA.train], [DATA.test], num_classes=10)
    file = tmp_path / "records" / "train-00000.array_record"
    content = bytearray(file.read_bytes())
    content[content.find(DATA.train.images[33].tobytes()) + 300] ^= 1
    file.write_bytes(content)
    data = stream(tmp_path / "records")
    with pytest.raises(InputError, match=r"damaged one in record 33 of .*train-00000.array_record"):
        train(AE, data)
    assert not readers_left()


def test_what_a_streamed_training_cannot_do_is_refused(streamed, monkeypatch):
    with pytest.raises(InputError, match="expected data in memory to train many models at once, got streamed ones"):
        fit_many(AE, streamed, seeds=[0, 1])
    with pytest.raises(InputError, match="expected a batch size of at most the 70 training examples, got 71"):
        fit(AE.replace(batch_size=71), streamed)
    with pytest.raises(InputError, match="expected examples of 6 features, got"):
        fit(AE.replace(num_features=6), streamed)
    monkeypatch.setattr("jaxae.bounds.host_memory", lambda: 50_000_000)
    with pytest.raises(InputError, match="expected two chunks of 9000 batches within"):
        fit(AE, streamed, log_every=9000)


def test_commands_convert_and_stream(command, tmp_path, monkeypatch):
    """The same weights as in memory, from what a configuration says alone too; what does not go together is refused."""
    monkeypatch.chdir(tmp_path)
    save_arrays(DATA, tmp_path / "digits.npz")
    ended = command("convert.py", "digits.npz", "records")
    assert (ended.status, ended.err) == (0, "kept in records\n"), ended
    brief = ("--hidden", 7, "--batch-size", 15, "--epochs", 1, "--devices", 1, "--data", "records")
    for name, flags in (
        ("memory", brief),
        ("streamed", (*brief, "--stream", "yes")),
        ("again", ("--config", "streamed/config.json", "--devices", 1, "--stream", "yes")),
    ):
        ended = command("train_ae.py", *flags, "--run-dir", name)
        assert ended.status == 0, ended
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("memory", "streamed", "again")]
    assert weights[0] == weights[1] == weights[2]
    for flags, refusal in (
        (("--seeds", 2), "expected data in memory to train many models at once, got streamed ones"),
        (("--size", 14, "--grey"), "expected records that are streamed to be read as they are"),
        (("--data-dir", "."), "expected no data_dir beside the path of the data"),
        (("--data", "mnist"), "expected a folder that jaxae convert wrote, got mnist without stream.json"),
    ):
        ended = command("train_ae.py", *brief, "--stream", "yes", "--run-dir", "refused", *flags)
        assert (ended.status, ended.out) == (2, ""), ended
        assert refusal in ended.err
    assert not (tmp_path / "refused").exists()
    assert command("convert.py", "digits", "records").err == "error: expected the name of a new folder, got records\n"
