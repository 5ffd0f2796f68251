"""What notebooks printed: the logs of the package, and logs of one's own."""

import dataclasses
from pathlib import Path

import pytest

from jaxae import load
from jaxae.config import DENSE_VAE
from jaxae.errors import InputError
from jaxae.parity.printed_log import PrintedLog, read_lines
from jaxae.parity.published import PublishedComparison, PublishedLine, published_logs, published_table, replay_published

AE, CVAE = published_logs()


def test_the_logs_are_whole():
    assert (len(AE.costs), len(CVAE.costs)) == (25, 500)
    assert AE.costs[0] == (1, 0, 0.71)
    assert CVAE.costs[-1] == (50, 450, 13997.9141)
    for log in (AE, CVAE):
        assert list(log.costs) == sorted(log.costs, key=lambda line: line[:2])
        assert log.costs[-1][0] == log.config.train.epochs


@pytest.mark.usefixtures("x64")
def test_the_autoencoders_lines_of_2019_are_ours():
    found = replay_published(AE, load("mnist"))
    assert len(found.lines) == 25
    assert found.identical == 25
    assert found.passed
    # Another seed's are not.
    other = dataclasses.replace(AE, config=AE.config.replace(seed=124))
    assert not replay_published(other, load("mnist"), steps=51).passed


@pytest.mark.usefixtures("x64")
def test_the_conditional_vae_starts_as_in_2019():
    reported: list[str] = []
    found = replay_published(CVAE, load("mnist"), steps=51, report=reported.append)
    assert [(line.epoch, line.batch) for line in found.lines] == [(1, 0), (1, 50)]
    assert [line.split(":")[0] for line in reported] == [f"{CVAE.name}, epoch 1"]
    # Measured: 4.6e-8, and 1.3e-3 after 50 steps of float32 chaos.
    assert found.lines[0].gap < 1e-6
    assert found.passed


@pytest.mark.parametrize(
    ("log", "costs", "passed"),
    [
        (AE, [(0.71, 0.71004), (0.2026, 0.20256)], True),
        (AE, [(0.71, 0.71006), (0.2026, 0.2026)], False),
        (CVAE, [(1000.0, 1000.0005), (900.0, 905.0)], True),
        (CVAE, [(1000.0, 1000.002), (900.0, 900.0)], False),
        (CVAE, [(1000.0, 1000.0), (900.0, 915.0)], False),
        (CVAE, [(1000.0, 1000.0), (900.0, 925.0)], False),
        (CVAE, [], False),
    ],
)
def test_the_verdict(log, costs, passed):
    lines = tuple(PublishedLine(1, 50 * n, *pair) for n, pair in enumerate(costs))
    assert PublishedComparison(log, lines).passed == passed


def test_the_table_has_each_number():
    lines = (PublishedLine(1, 0, 100.0, 100.00005), PublishedLine(1, 50, 90.0, 90.9))
    titles, row = published_table([PublishedComparison(CVAE, lines, 12.3)]).splitlines()
    assert "identical" in titles
    assert row.split() == [CVAE.name, "2", "1", "1.0e-02", "4.7e-03", "4.7e-03", "5.0e-07", "12", "pass"]


PRINTED = """Device: cuda:0
Epoch: 1/2 | Batch 0/234 | Cost: 0.710
Epoch: 001/002 | Batch 050/234 | Cost: 0.203
Time elapsed: 0.21 min
Epoch: 002/002 | Train Cost: 0.1
  epoch: 002/002 | batch: 000/234 | loss: 1.24e-1
Total Training Time: 0.4 min
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "notebook.txt"
    path.write_text(PRINTED)
    return path


def test_a_log_of_ones_own(log):
    assert read_lines(log) == (((1, 0, 0.71), (1, 50, 0.203), (2, 0, 0.124)), 3, 234)
    read = PrintedLog(log=log, hidden=(64, 16), activation="relu", seed=7, epochs=1, replay="torch").read()
    assert (read.name, len(read.costs), read.decimals) == ("notebook.txt", 2, 3)
    assert read.config == AE.config.replace(hidden=(64, 16), activation="relu", seed=7, replay="torch", epochs=1)
    vae = PrintedLog(log=log, model="cvae", num_classes=0, num_latent=8, output_leaky_relu=False).read()
    assert vae.config == CVAE.config.replace(num_classes=0, num_latent=8, output_leaky_relu=False, epochs=2)
    dense = PrintedLog(log=log, model="dense-vae", hidden=(400,), activation="relu", num_latent=20).read()
    assert dense.config.model == DENSE_VAE.replace(hidden=(400,), activation="relu", num_latent=20).model
    # Epochs counted from 0.
    log.write_text("Epoch: 000/002 | Batch 000/234 | Cost: 0.7\nEpoch: 001/002 | Batch 000/234 | Cost: 0.6\n")
    assert read_lines(log)[0] == ((1, 0, 0.7), (2, 0, 0.6))


@pytest.mark.usefixtures("x64")
def test_a_log_of_ones_own_is_replayed(log):
    """The published autoencoder's first lines, printed in three decimals; of another batch size they are refused."""
    read = PrintedLog(log=log, epochs=1).read()
    found = replay_published(read, load("mnist"), steps=51)
    assert found.passed
    assert found.identical == len(found.lines) == 2
    with pytest.raises(InputError, match="expected a log of 469 batches of 128 an epoch, got one of 234 batches"):
        replay_published(PrintedLog(log=log, batch_size=128).read(), load("mnist"))


def test_data_that_do_not_suit_the_logs_model_are_refused():
    mnist = load("mnist")
    with pytest.raises(InputError, match="expected labels of the model's 10 classes, got a data set of 12"):
        replay_published(CVAE, dataclasses.replace(mnist, num_classes=12))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing here", "got none of them"),
        ("Epoch: 001/050 | Batch 000/468 | Cost: many", "in line 1"),
        ("Epoch: 001/050 | Batch 000/468 | Cost: nan", "in line 1"),
        ("Epoch: 1/2 | Batch 0/9 | Cost: -1.0", "above 0"),
        ("Epoch: 1/2 | Batch 0/9 | Cost: " + 5000 * "9", "finite"),
        (f"Epoch: {5000 * '9'}/2 | Batch 0/9 | Cost: 1.0", "in line 1"),
        ("Epoch: 1/2 | Batch 0/9 | Cost: 1e99999", "in line 1"),
        # Each of a hundred thousand characters, which a pattern that goes back over them would take minutes for.
        ("epoch " * 20_000, "got none of them"),
        ("epoch 1" + " " * 100_000 + "batch 0", "in line 1"),
        ("epoch 1 batch 0" + " /" * 50_000, "in line 1"),
        ("epoch 1 batch 0 cost" + " " * 100_000 + "x", "in line 1"),
        ("epoch 1 batch 0 cost " + "1" * 100_000 + "x", "in line 1"),
        ("Epoch: 2/2 | Batch 0/9 | Cost: 1.0\nEpoch: 1/2 | Batch 0/9 | Cost: 1.0", "in order.*in line 2"),
        ("Epoch: 001/050 | Batch 000/468 | Cost: 0.0000", "above 0"),
    ],
)
def test_a_malformed_log_is_one_error(log, text, message):
    log.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        PrintedLog(log=log).read()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_settings_that_do_not_suit_are_refused(log, tmp_path):
    with pytest.raises(InputError, match="expected --log FILE beside the settings of a log, got num_latent alone"):
        PrintedLog(num_latent=5)
    with pytest.raises(InputError, match="num_latent"):
        PrintedLog(log=log, num_latent=5).read()
    with pytest.raises(InputError, match=r"expected epochs from 1 to .*, got 0"):
        PrintedLog(log=log, epochs=0)
    log.write_text("Epoch: 3/4 | Batch 0/9 | Cost: 1.0")
    with pytest.raises(InputError, match=r"expected lines of the first 2 epochs in .*, got none"):
        PrintedLog(log=log, epochs=2).read()
    with pytest.raises(InputError, match="expected a text file"):
        PrintedLog(log=tmp_path / "none.txt").read()
    log.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="expected a text file"):
        PrintedLog(log=log).read()
