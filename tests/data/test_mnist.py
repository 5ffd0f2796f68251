import shutil

import numpy as np
import pytest

from jaxae import InputError, load
from jaxae.data import mnist


def test_mnist_needs_no_folder():
    data = load("mnist")
    assert data.train.images.shape == (60_000, 28, 28, 1)
    assert data.test.images.shape == (10_000, 28, 28, 1)
    assert data.num_classes == 10
    # The first labels of the original order, as every tutorial shows them.
    assert data.train.labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert data.test.labels[:8].tolist() == [7, 2, 1, 0, 4, 1, 4, 9]


def test_a_folder_of_the_same_files_gives_the_same(mnist_dir):
    own, given = load("mnist"), load("mnist", mnist_dir)
    for split in ("train", "test"):
        for one, two in zip(getattr(own, split), getattr(given, split), strict=True):
            assert np.array_equal(one, two)


@pytest.mark.parametrize("damage", ["missing", "altered"])
def test_files_that_are_not_mnists_are_refused(damage, tmp_path, monkeypatch):
    shutil.copytree(mnist.FOLDER, tmp_path / "idx")
    monkeypatch.setattr(mnist, "FOLDER", tmp_path / "idx")
    load("mnist")
    path = tmp_path / "idx" / "t10k-labels-idx1-ubyte.gz"
    if damage == "missing":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[100] ^= 1
        path.write_bytes(content)
    expected = {
        "missing": "expected the package's MNIST files, got .*No such file",
        "altered": r"expected MNIST's own t10k-labels-idx1-ubyte\.gz, got other content",
    }
    with pytest.raises(InputError, match=expected[damage]):
        load("mnist")
