import dataclasses
import gzip
import http.client
import logging
import os
import re
import shutil
import struct
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxae.data import tfds
from jaxae.data.cache import cache_folder
from jaxae.data.dataset import Dataset, Split, load
from jaxae.data.digits import enlarge
from jaxae.data.pixels import as_unit_float, check_images, check_labels, unit_float_table
from jaxae.data.saving import save_arrays
from jaxae.errors import InputError
from jaxae.storage import npz

MNIST_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("JAXAE_CACHE", str(folder))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "no-tfds"))
    return folder


def idx_bytes(values: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + bytes(values)


def write_idx(
    folder: Path,
    *,
    names: tuple[str, ...] = MNIST_FILES,
    gz: bool = False,
    shape: tuple[int, int] = (28, 28),
    counts: tuple[int, int, int, int] = (6, 6, 3, 3),
    first_label: int = 0,
) -> list[np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    arrays = []
    for name, count in zip(names, counts, strict=True):
        if "images" in name:
            values = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        else:
            values = np.arange(first_label, first_label + count, dtype=np.uint8)
        data = idx_bytes(values)
        (folder / (name + ".gz" * gz)).write_bytes(gzip.compress(data) if gz else data)
        arrays.append(values)
    return arrays


def assert_same(left: Dataset, right: Dataset) -> None:
    assert left.num_classes == right.num_classes
    for ours, theirs in zip((*left.train, *left.test), (*right.train, *right.test), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


class TestDigits:
    def test_is_scikit_learns_digits_split_by_class(self) -> None:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        dataset = load()
        small, labels = map(np.asarray, load_digits(return_X_y=True))
        train, test, train_labels, test_labels = train_test_split(
            small, labels, test_size=360, random_state=0, stratify=labels
        )
        assert dataset.num_classes == 10
        assert dataset.train.images.shape == (1437, 28, 28, 1)
        assert dataset.test.images.shape == (360, 28, 28, 1)
        for split, originals, wanted in ((dataset.train, train, train_labels), (dataset.test, test, test_labels)):
            assert split.images.dtype == np.uint8
            assert split.labels.dtype == np.int32
            np.testing.assert_array_equal(split.labels, wanted)
            # Averaging over cells of 3.5 pixels undoes the enlargement, but for its overshoot.
            cells = np.repeat(np.repeat(split.images[..., 0], 2, axis=1), 2, axis=2)
            means = cells.reshape(-1, 8, 7, 8, 7).mean(axis=(2, 4)) * 16 / 255
            assert np.corrcoef(means.ravel(), np.ravel(originals))[0, 1] > 0.98  # measured 0.985

    def test_enlarging_keeps_constants_corners_and_ramps(self) -> None:
        constant = enlarge(np.full((1, 8, 8), 16, np.int64))
        np.testing.assert_array_equal(constant, np.full((1, 28, 28, 1), 255, np.uint8))
        ramp = enlarge(np.broadcast_to(2 * np.arange(8), (1, 8, 8)).astype(np.int64))[0, :, :, 0]
        assert (ramp == ramp[0]).all()
        # Cubic convolution reproduces a straight line wherever all four taps lie inside.
        centres = (np.arange(28) + 0.5) * 8 / 28 - 0.5
        inside = (centres >= 1) & (centres <= 6)
        wanted = np.floor(centres[inside] * 2 * 255 / 16 + 0.5)
        np.testing.assert_array_equal(ramp[0, inside], wanted)

    def test_second_start_needs_no_scikit_learn(self, cache: Path) -> None:
        first = load()
        assert [path.name for path in (cache / "data").iterdir()] == ["digits-bicubic.npz"]
        assert_same(load(), first)
        ended = run_python("import sys, jaxae.data.dataset as d; d.load()\nassert 'sklearn' not in sys.modules")
        assert ended.returncode == 0, ended.stderr

    @pytest.mark.parametrize("where", [0, 40, 4000, 1_100_000, -30])
    def test_damaged_cache_is_rebuilt(self, cache: Path, caplog: pytest.LogCaptureFixture, where: int) -> None:
        first = load()
        path = cache / "data" / "digits-bicubic.npz"
        data = bytearray(path.read_bytes())
        data[where] ^= 0x10
        path.write_bytes(data)
        assert_same(load(), first)
        assert str(path) in caplog.text
        assert path.read_bytes() != data
        caplog.clear()
        assert_same(load(), first)
        assert not caplog.text

    @pytest.mark.parametrize("size", [0, 10, 5000])
    def test_truncated_cache_is_rebuilt(self, cache: Path, caplog: pytest.LogCaptureFixture, size: int) -> None:
        first = load()
        path = cache / "data" / "digits-bicubic.npz"
        path.write_bytes(path.read_bytes()[:size])
        assert_same(load(), first)
        assert "anew" in caplog.text

    def test_foreign_arrays_in_the_cache_are_rebuilt(self, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
        first = load()
        np.savez(cache / "data" / "digits-bicubic.npz", x=np.zeros(3))
        assert_same(load(), first)
        assert "train_images" in caplog.text

    def test_unwritable_cache_is_only_a_warning(self, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
        cache.write_text("a file where a folder should be")
        with caplog.at_level(logging.WARNING):
            assert len(load().train.images) == 1437
        assert "not cached" in caplog.text


class TestIdx:
    @pytest.mark.parametrize("gz", [False, True])
    @pytest.mark.parametrize("inner", ["", "raw", "MNIST/raw", "mnist"])
    def test_reads_the_four_files_wherever_they_are_left(self, tmp_path: Path, inner: str, gz: bool) -> None:
        root = tmp_path / "root"
        train_images, train_labels, test_images, test_labels = write_idx(root / inner, gz=gz)
        before = sorted(root.rglob("*"))
        dataset = load("mnist", root)
        np.testing.assert_array_equal(dataset.train.images, train_images[..., None])
        np.testing.assert_array_equal(dataset.train.labels, train_labels)
        np.testing.assert_array_equal(dataset.test.images, test_images[..., None])
        np.testing.assert_array_equal(dataset.test.labels, test_labels)
        assert dataset.train.labels.dtype == np.int32
        assert dataset.num_classes == 10
        assert sorted(root.rglob("*")) == before
        assert_same(load("mnist", root, original_order=True), dataset)

    @pytest.mark.parametrize(
        ("name", "inner"), [("fashion_mnist", "FashionMNIST/raw"), ("fashion_mnist", ""), ("kmnist", "KMNIST/raw")]
    )
    def test_reads_the_relatives(self, tmp_path: Path, name: str, inner: str) -> None:
        write_idx(tmp_path / inner)
        assert load(name, tmp_path).name == name

    @pytest.mark.parametrize("inner", ["EMNIST/raw", "gzip", ""])
    @pytest.mark.parametrize(("subset", "num_classes", "first_label"), [("letters", 27, 21), ("balanced", 47, 41)])
    def test_reads_emnist(self, tmp_path: Path, inner: str, subset: str, num_classes: int, first_label: int) -> None:
        names = tuple(
            f"emnist-{subset}-{part}"
            for part in (
                "train-images-idx3-ubyte",
                "train-labels-idx1-ubyte",
                "test-images-idx3-ubyte",
                "test-labels-idx1-ubyte",
            )
        )
        # Six labels from `first_label`: the highest is the set's highest.
        write_idx(tmp_path / inner, names=names, gz=True, first_label=first_label)
        assert load(f"emnist/{subset}", tmp_path).num_classes == num_classes
        write_idx(tmp_path / inner, names=names, gz=True, first_label=first_label + 1)
        with pytest.raises(InputError, match=f"0 to {num_classes - 1}, got {num_classes}"):
            load(f"emnist/{subset}", tmp_path)

    def test_a_familys_own_folder_is_not_taken_for_another(self, tmp_path: Path) -> None:
        fashion = write_idx(tmp_path / "FashionMNIST" / "raw")
        write_idx(tmp_path, counts=(4, 4, 2, 2))
        assert len(load("fashion_mnist", tmp_path).train.images) == len(fashion[0])
        assert len(load("mnist", tmp_path).train.images) == 4

    def test_reads_dotted_names_and_misnamed_gzip(self, tmp_path: Path) -> None:
        write_idx(tmp_path, names=tuple(name.replace("-idx", ".idx") for name in MNIST_FILES))
        labels = tmp_path / "train-labels.idx1-ubyte"
        labels.write_bytes(gzip.compress(labels.read_bytes()))
        images = tmp_path / "train-images.idx3-ubyte"
        images.rename(tmp_path / f"{images.name}.gz")
        assert len(load("mnist", str(tmp_path)).train.images) == 6

    def test_reads_the_real_mnist(self, mnist_dir: Path) -> None:
        dataset = load("mnist", mnist_dir)
        assert dataset.train.images.shape == (60000, 28, 28, 1)
        assert dataset.test.images.shape == (10000, 28, 28, 1)
        # The first labels of MNIST, and its usual normalisation constants 0.1307 and 0.3081.
        assert dataset.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
        assert dataset.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
        assert dataset.train.images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
        assert dataset.train.images.std() / 255 == pytest.approx(0.3081, abs=5e-5)

    @pytest.mark.parametrize("gz", [False, True])
    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda data: data[:-1], "truncated"),
            (lambda data: data[:9], "ends within it"),
            (lambda data: b"", "begins with nothing"),
            (lambda data: b"\0\0\x0d\x03" + data[4:], "expected an IDX file"),
            (lambda data: data + b"\0", "holds more"),
            (lambda data: data[:4] + b"\xff\xff\xff\xff" + data[8:], "truncated"),
            (lambda data: b"<html>not found</html>" * 50, "expected an IDX file"),
        ],
    )
    def test_damaged_files_are_named(self, tmp_path: Path, damage, message: str, gz: bool) -> None:
        write_idx(tmp_path, gz=gz)
        path = tmp_path / ("t10k-images-idx3-ubyte" + ".gz" * gz)
        data = path.read_bytes()
        damaged = damage(gzip.decompress(data) if gz else data)
        path.write_bytes(gzip.compress(damaged) if gz else damaged)
        with pytest.raises(InputError, match=message) as caught:
            load("mnist", tmp_path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("keep", [3, 12, 200, -4])
    def test_truncated_gzip_is_named(self, tmp_path: Path, keep: int) -> None:
        write_idx(tmp_path, gz=True)
        path = tmp_path / "train-images-idx3-ubyte.gz"
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz: "):
            load("mnist", tmp_path)

    def test_bit_flips_in_gzip_are_named(self, tmp_path: Path) -> None:
        write_idx(tmp_path, gz=True)
        path = tmp_path / "train-images-idx3-ubyte.gz"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz"):
            load("mnist", tmp_path)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"shape": (32, 32)}, "expected images of shape Nx28x28x1, got 6x32x32x1"),
            ({"shape": (28, 27)}, "got 6x28x27x1"),
            ({"counts": (6, 5, 3, 3)}, "each of 6 images, got . in the train"),
            ({"counts": (6, 6, 3, 4)}, "each of 3 images, got . in the test"),
            ({"counts": (0, 0, 3, 3)}, "expected at least one image, got none in the train"),
            ({"counts": (6, 6, 0, 0)}, "expected at least one image, got none in the test"),
            ({"first_label": 5}, "expected labels from 0 to 9, got 10"),
        ],
    )
    def test_unfit_sets_are_refused(self, tmp_path: Path, options: dict, message: str) -> None:
        write_idx(tmp_path, **options)
        with pytest.raises(InputError, match=rf"{message}.* split of {re.escape(str(tmp_path))}$"):
            load("mnist", tmp_path)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        write_idx(tmp_path)
        (tmp_path / "t10k-labels-idx1-ubyte").unlink()
        with pytest.raises(InputError, match="got no t10k-labels-idx1-ubyte"):
            load("mnist", tmp_path)


class TestSavedArrays:
    def test_round_trip(self, tmp_path: Path) -> None:
        dataset = load()
        path = tmp_path / "digits.npz"
        save_arrays(dataset, path)
        assert_same(load(str(path)), dataset)
        assert [file.name for file in tmp_path.glob("*digits*")] == ["digits.npz"]
        with np.load(path, allow_pickle=False) as arrays:
            assert arrays["train_images"].shape == (1437, 28, 28, 1)
            assert arrays["test_labels"].dtype == np.int32

    def test_a_failed_write_leaves_the_old_file_and_nothing_else(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "out"
        folder.mkdir()
        save_arrays(load(), folder / "a.npz")
        before = (folder / "a.npz").read_bytes()

        def full(*_: object, **__: object) -> None:
            raise OSError("no space left")

        monkeypatch.setattr(np, "savez", full)
        with pytest.raises(InputError, match="no space left"):
            save_arrays(load(), folder / "a.npz")
        assert [file.name for file in folder.iterdir()] == ["a.npz"]
        assert (folder / "a.npz").read_bytes() == before

    def test_bad_paths(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"ending in \.npz"):
            save_arrays(load(), tmp_path / "a.npy")
        with pytest.raises(InputError, match="expected a folder that can be written to"):
            save_arrays(load(), tmp_path / "none" / "a.npz")
        with pytest.raises(InputError, match="No such file"):
            load(str(tmp_path / "a.npz"))

    def test_classes_are_counted_where_the_file_does_not_say(self, tmp_path: Path) -> None:
        arrays = npz_arrays()
        np.savez(tmp_path / "a.npz", allow_pickle=False, **arrays)
        assert load(str(tmp_path / "a.npz")).num_classes == 6

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"train_images": np.zeros((6, 28, 28, 1), np.float32)}, "uint8 images, got float32"),
            ({"train_images": np.zeros((6, 1, 28, 28), np.uint8)}, "got 6x1x28x28"),
            ({"test_labels": np.zeros(3)}, "vector of integers, got float64"),
            ({"test_labels": np.zeros((0,), np.int32)}, "test split"),
            ({"test_labels": np.array([0, 1, -1])}, "got -1"),
            ({"test_labels": np.array([0, 1, 2**40])}, "got 1099511627776"),
            ({"test_labels": np.array([0, 1, 2**40]), "num_classes": np.asarray(2**41)}, "got 1099511627776"),
            ({"num_classes": np.asarray(5)}, "0 to 4, got 5"),
            ({"num_classes": np.asarray("ten")}, "num_classes"),
            ({"test_images": np.array([None])}, "expected a sound .npz"),
        ],
    )
    def test_unfit_arrays_are_refused(self, tmp_path: Path, change: dict, message: str) -> None:
        path = tmp_path / "a.npz"
        np.savez(path, allow_pickle=True, **{**npz_arrays(), **change})
        with pytest.raises(InputError, match=message) as caught:
            load(str(path))
        assert str(path) in str(caught.value)

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04]\x94.", b"nonsense"])
    def test_other_files_are_refused(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "a.npz"
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"expected a sound \.npz"):
            load(str(path))
        np.save(tmp_path / "b.npy", np.zeros(3))
        (tmp_path / "b.npy").rename(path)
        with pytest.raises(InputError, match=r"expected a sound \.npz"):
            load(str(path))

    def test_every_truncation_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        npz.write(path, npz_arrays())
        whole = path.read_bytes()
        for size in range(0, len(whole), 97):
            path.write_bytes(whole[:size])
            with pytest.raises(InputError):
                npz.read(path)


def npz_arrays() -> dict[str, np.ndarray]:
    return {
        "train_images": np.zeros((6, 28, 28, 1), np.uint8),
        "train_labels": np.arange(6, dtype=np.int32),
        "test_images": np.zeros((3, 28, 28, 1), np.uint8),
        "test_labels": np.arange(3, dtype=np.int32),
    }


class TestPixels:
    def test_unit_floats_are_torchs_to_the_bit(self) -> None:
        torch = pytest.importorskip("torch")
        every = np.arange(256, dtype=np.uint8)
        wanted = torch.from_numpy(every.copy()).to(torch.float32).div(255).numpy()
        np.testing.assert_array_equal(as_unit_float(every), wanted)
        np.testing.assert_array_equal(unit_float_table(), wanted)
        # What the table is there to avoid: 126 of 256 differ.
        assert (every.astype(np.float32) * np.float32(1 / 255) != wanted).sum() > 100

    def test_floats_in_range_are_kept(self) -> None:
        images = np.array([[0.0, 0.25, 1.0]])
        assert as_unit_float(images).dtype == np.float32
        np.testing.assert_array_equal(as_unit_float(images), images)
        for dtype in (jnp.float16, jnp.bfloat16, jnp.float32):
            check_images(jnp.zeros((2, 28, 28, 1), dtype))
        check_images(np.zeros((2, 5, 3), np.uint8), (5, 3))

    @pytest.mark.parametrize(
        ("images", "message"),
        [
            (np.full((1, 28, 28, 1), np.nan), "NaN"),
            (np.full((1, 28, 28, 1), 1.5), r"\[0, 1\], got 1.5"),
            (np.full((1, 28, 28, 1), -0.5, np.float32), "got -0.5"),
            (np.full((1, 28, 28, 1), np.inf), "got inf"),
            (jnp.full((1, 28, 28, 1), 2, jnp.bfloat16), "got 2"),
            (jnp.full((1, 28, 28, 1), jnp.nan, jnp.bfloat16), "NaN"),
            (np.zeros((1, 28, 28, 1), np.int64), "uint8, or floats"),
            (np.zeros((1, 28, 28, 1), bool), "uint8, or floats"),
            (np.zeros((1, 28, 28, 1), complex), "uint8, or floats"),
            (np.zeros((1, 1, 28, 28), np.uint8), "expected images of shape Nx28x28x1, got 1x1x28x28"),
            (np.zeros((28, 28, 1), np.uint8), "got 28x28x1"),
            (np.uint8(3), "got a scalar"),
            (np.zeros((0, 28, 28, 1), np.uint8), "at least one image"),
        ],
    )
    def test_unfit_images_are_refused(self, images: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            check_images(images)

    def test_what_is_no_unit_float_is_refused(self) -> None:
        with pytest.raises(InputError, match=r"\[0, 1\], got 1.5"):
            as_unit_float(np.full((2, 3), 1.5))

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ([0, 10], "0 to 9, got 10"),
            ([0, -1], "0 to 9, got -1"),
            ([0.0], "vector of integers, got float64"),
            ([[0]], "vector of integers, got int64 of shape 1x1"),
            (np.zeros(0, np.int32), "at least one label"),
            ([True], "vector of integers, got bool"),
        ],
    )
    def test_unfit_labels_are_refused(self, labels: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            check_labels(labels, 10)

    def test_labels_are_counted(self) -> None:
        check_labels([0, 9], 10, num_images=2)
        with pytest.raises(InputError, match="expected a label for each of 3 images, got 2"):
            check_labels([0, 9], 10, num_images=3)


# Prepared in a process of its own, because it imports TensorFlow.
PREPARE = """
import sys
from pathlib import Path
import numpy as np
import tensorflow_datasets
from jaxae.data import tfds
from jaxae.data import dataset as data
from jaxae.data.saving import save_arrays

class Tiny(tensorflow_datasets.core.GeneratorBasedBuilder):
    VERSION = tensorflow_datasets.core.Version("1.0.0")
    splits = ("train", "test")
    def _info(self):
        features = tensorflow_datasets.features
        return tensorflow_datasets.core.DatasetInfo(builder=self, features=features.FeaturesDict({
            "image": features.Image(shape=(28, 28, 1)),
            "label": features.ClassLabel(num_classes=3),
        }))
    def _split_generators(self, manager):
        return {split: self._generate_examples() for split in self.splits}
    def _generate_examples(self):
        for key in range(9):
            yield key, {"image": np.full((28, 28, 1), key, np.uint8), "label": key % 3}

class TinyTrain(Tiny):
    splits = ("train",)

folder = tfds.default_folder()
Tiny(data_dir=folder).download_and_prepare(file_format="array_record")
Tiny(data_dir=folder / "records").download_and_prepare(file_format="tfrecord")
TinyTrain(data_dir=folder).download_and_prepare(file_format="array_record")
# Only TensorFlow reads TFRecords, so they are read while it is here.
save_arrays(data.load("tiny", folder / "records"), folder / "records.npz")
if len(sys.argv) > 1:
    archives = Path(sys.argv[1])
    print(tfds.prepare("mnist", known=(), image_shape=(28, 28, 1), archives=archives))
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("array_record")
    if not tensorflow_is_installed():
        pytest.skip("preparing data needs TensorFlow")
    folder = tmp_path_factory.mktemp("tfds")
    script = tmp_path_factory.mktemp("script") / "prepare.py"
    script.write_text(PREPARE)
    try:
        archives = [str(request.getfixturevalue("mnist_dir"))]
    except pytest.skip.Exception:
        archives = []
    ended = subprocess.run(
        [sys.executable, script, *archives],
        env={**os.environ, "TFDS_DATA_DIR": str(folder), "JAXAE_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr
    return folder


def tensorflow_is_installed() -> bool:
    from importlib.util import find_spec

    return find_spec("tensorflow") is not None


class TestTensorFlowDatasets:
    def test_mnist_is_the_idx_files_in_another_order(self, prepared: Path, mnist_dir: Path, cache: Path) -> None:
        wanted = load("mnist", mnist_dir)
        hashed = load("mnist", prepared)
        assert hashed.train.labels.tolist() != wanted.train.labels.tolist()
        np.testing.assert_array_equal(np.bincount(hashed.train.labels), np.bincount(wanted.train.labels))
        assert_same(load("mnist", prepared, original_order=True), wanted)

        assert len(list((cache / "data").iterdir())) == 1
        code = (
            "import sys\n"
            "from jaxae.data.dataset import load\n"
            f"dataset = load('mnist', {str(prepared)!r})\n"
            "print(dataset.train.labels[:5].tolist())\n"
            "for name in ('tensorflow', 'torch', 'tensorflow_datasets', 'sklearn'):\n"
            "    assert name not in sys.modules, name\n"
        )
        ended = run_python(code)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.strip() == str(hashed.train.labels[:5].tolist())

    def test_reading_imports_no_tensorflow(self, prepared: Path, tmp_path: Path) -> None:
        code = (
            "import sys\n"
            "from jaxae.data.dataset import load\n"
            "dataset = load('tiny')\n"
            "assert sorted(dataset.train.images[:, 0, 0, 0].tolist()) == list(range(9))\n"
            "assert (dataset.train.images[:, 3, 4, 0] % 3 == dataset.train.labels).all()\n"
            "assert dataset.num_classes == 3\n"
            "assert 'tensorflow_datasets' in sys.modules\n"
            "for name in ('tensorflow', 'torch'):\n"
            "    assert name not in sys.modules, name\n"
        )
        ended = run_python(code, TFDS_DATA_DIR=str(prepared))
        assert ended.returncode == 0, ended.stderr

    def test_records_of_others_are_read_in_the_same_order(self, prepared: Path) -> None:
        assert_same(load(str(prepared / "records.npz")), load("tiny", prepared))

    def test_order_is_that_of_tensorflow_datasets_hasher(self) -> None:
        hashing = pytest.importorskip("tensorflow_datasets.core.hashing")
        for split in ("train", "test"):
            keys = [hashing.Hasher(split).hash_key(key) for key in range(2000)]
            stored = np.argsort(np.array(keys, object))
            np.testing.assert_array_equal(stored[tfds.original_positions(split, 2000)], np.arange(2000))

    def test_unfit_sets_are_refused(self, prepared: Path) -> None:
        with pytest.raises(InputError, match="expected a test split of tiny_train, got train"):
            load("tiny_train", prepared)
        with pytest.raises(InputError, match="got tiny, whose order is not known"):
            load("tiny", prepared, original_order=True)
        with pytest.raises(InputError, match="expected a known data set, got 'tniy'"):
            load("tniy", prepared, original_order=True)

    @pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "info"])
    def test_damaged_sets_are_named(self, prepared: Path, tmp_path: Path, damage: str) -> None:
        shutil.copytree(prepared / "tiny", tmp_path / "tiny")
        folder = tmp_path / "tiny" / "1.0.0"
        record = next(folder.glob("*test.array_record*"))
        data = bytearray(record.read_bytes())
        if damage == "truncate":
            record.write_bytes(data[: len(data) // 2])
        elif damage == "flip":
            data[len(data) // 2] ^= 0xFF
            record.write_bytes(data)
        elif damage == "remove":
            record.unlink()
        else:
            (folder / "dataset_info.json").write_text("{")
        with pytest.raises(InputError, match=r"expected a prepared set that can be read, got .*tiny/1\.0\.0"):
            load("tiny", tmp_path)

    def test_the_newest_or_the_named_version_is_found(self, tmp_path: Path) -> None:
        for version in ("3.0.1", "3.0.10", "3.0.9", "incomplete.3.1.0"):
            (tmp_path / "mnist" / version).mkdir(parents=True)
            (tmp_path / "mnist" / version / "dataset_info.json").touch()
        assert tfds.find_prepared("mnist", tmp_path) == tmp_path / "mnist" / "3.0.10"
        assert tfds.find_prepared("mnist:3.0.9", tmp_path) == tmp_path / "mnist" / "3.0.9"
        assert tfds.find_prepared("mnist:3.0.2", tmp_path) is None
        assert tfds.find_prepared("../mnist", tmp_path / "mnist") is None

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("mnits", "expected a known data set, got 'mnits': did you mean 'mnist'?"),
            ("FashionMNIST", "did you mean 'fashion_mnist'?"),
            ("digit", "did you mean 'digits'?"),
            ("xyzzy", "'digits' needs no download"),
            ("", "expected a known data set, got ''"),
            ("../mnist", "expected a known data set, got '../mnist'"),
            ("emnist", "it has emnist/byclass, "),
            ("emnist/leters", "did you mean emnist/letters?"),
            ("cats_vs_dogs", "expected uint8 images of one size, grey or in colours, got cats_vs_dogs, which has"),
            ("binarized_mnist", "expected an image classification set"),
            ("mnist:9.9.9", "expected the data set mnist:9.9.9, got"),
        ],
    )
    def test_names_that_will_not_do(self, name: str, message: str) -> None:
        pytest.importorskip("tensorflow_datasets")
        with pytest.raises(InputError) as caught:
            load(name)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_without_a_network_the_files_are_named_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("tensorflow_datasets")

        def unreachable(*_: object, **__: object) -> None:
            tried.append(time.monotonic())
            raise OSError("no network")

        tried: list[float] = []

        monkeypatch.setattr("urllib.request.urlopen", unreachable)
        with pytest.raises(InputError, match=r"expected kmnist prepared, or .* to be reached, got neither"):
            load("kmnist")
        with pytest.raises(InputError) as caught:
            load("emnist/letters")
        assert len(tried) < 4  # TensorFlow Datasets alone tries for 200 seconds
        assert "emnist-letters-train-images-idx3-ubyte.gz" in str(caught.value)
        assert "'digits' needs no files" in str(caught.value)

    def test_a_folder_without_the_data_is_named(self, tmp_path: Path) -> None:
        pytest.importorskip("tensorflow_datasets")
        with pytest.raises(InputError, match=r"expected the archives of mnist in .*: put train-images-idx3-ubyte"):
            load("mnist", tmp_path)
        with pytest.raises(InputError, match=r"put mnist_c\.zip"):
            load("mnist_corrupted/fog", tmp_path)
        with pytest.raises(InputError, match=r"expected a data_dir that can be read, got .*none"):
            load("mnist", tmp_path / "none")

    @pytest.mark.parametrize("package", ["tensorflow_datasets", "tensorflow"])
    def test_what_is_not_installed_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
    ) -> None:
        pytest.importorskip("tensorflow_datasets")
        write_idx(tmp_path, gz=True)
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(InputError, match=r"pip install 'jaxae\[tfds\]'"):
            tfds.prepare("mnist", known=["mnist"], image_shape=(28, 28, 1), archives=tmp_path)
        if package == "tensorflow_datasets":
            with pytest.raises(InputError, match="expected a known data set, got 'mnits': did you mean 'mnist'"):
                load("mnits")


class Builder:
    """What TensorFlow Datasets would build: a set of images of a shape, of which so many are stored."""

    def __init__(self, folder: Path, *, shape: tuple[int, ...] = (28, 28, 1), stored: int = 3):
        features = {"image": SimpleNamespace(shape=shape, np_dtype=np.uint8), "label": SimpleNamespace(num_classes=10)}
        splits = {split: SimpleNamespace(num_examples=3) for split in ("train", "test")}
        self.info = SimpleNamespace(features=features, splits=splits)
        self.url_infos: dict[str, Any] = {}
        self.data_dir = folder
        self._examples = [{"image": np.zeros(shape, np.uint8), "label": 0}] * stored

    def download_and_prepare(self, **_: Any) -> None:
        if not self._examples:
            raise OSError("no room\nat all")

    def as_data_source(self, split: str) -> Any:
        return Source(self._examples)


class Source(list):
    """A split's examples, by several places at once."""

    def __getitems__(self, places: Any) -> list[Any]:
        return [self[place] for place in places]


class TestTensorFlowDatasetsOfOthers:
    """What neither a download nor this machine's TensorFlow can be made to do."""

    @pytest.fixture
    def use(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[Builder], None]:
        def use(builder: Builder) -> None:
            datasets = ModuleType("tensorflow_datasets")
            vars(datasets).update(
                list_builders=lambda **_: ["mnist"],
                builder_cls=lambda _: SimpleNamespace(BUILDER_CONFIGS=[]),
                builder=lambda *_, **__: builder,
                builder_from_directory=lambda _: builder,
                download=SimpleNamespace(DownloadConfig=lambda **_: None),
            )
            monkeypatch.setitem(sys.modules, "tensorflow_datasets", datasets)

            def too_late(*_: Any) -> None:
                raise RuntimeError("Visible devices cannot be modified after being initialized")

            monkeypatch.setitem(
                sys.modules, "tensorflow", SimpleNamespace(config=SimpleNamespace(set_visible_devices=too_late))
            )

        return use

    def test_tensorflow_that_runs_already_is_left_as_it_is(self, tmp_path: Path, use: Any) -> None:
        use(Builder(tmp_path))
        assert tfds.prepare("mnist", known=(), image_shape=(28, 28, 1)) == tmp_path

    def test_a_set_in_colours_loads_in_its_own_shape(self, tmp_path: Path, use: Any) -> None:
        prepared = tmp_path / "cifar10" / "3.0.2"
        prepared.mkdir(parents=True)
        (prepared / "dataset_info.json").write_text("{}")
        use(Builder(prepared, shape=(32, 32, 3)))
        assert load("cifar10", tmp_path).train.images.shape == (3, 32, 32, 3)
        assert load("cifar10", tmp_path, size=28, grey=True).test.images.shape == (3, 28, 28, 1)

    def test_what_cannot_be_prepared_is_named(self, tmp_path: Path, use: Any) -> None:
        use(Builder(tmp_path, stored=0))
        with pytest.raises(InputError, match=r"expected to prepare mnist, got no room: put .* into a folder"):
            tfds.prepare("mnist", known=(), image_shape=(28, 28, 1))

    def test_prepared_sets_of_another_shape_or_too_few_examples_are_refused(self, tmp_path: Path, use: Any) -> None:
        use(Builder(tmp_path, shape=(32, 32, 3)))
        with pytest.raises(InputError, match=r"expected uint8 images of 28x28x1, got mnist, which has .* 32x32x3"):
            tfds.read(tmp_path, "mnist", (28, 28, 1))
        use(Builder(tmp_path, stored=2))
        with pytest.raises(InputError, match=r"expected 3 train examples in .*, got 2"):
            tfds.read(tmp_path, "mnist", (28, 28, 1))
        for shape in ((28, 28, 1), (32, 20, 3)):
            use(Builder(tmp_path, shape=shape))
            assert tfds.read(tmp_path, "mnist")["test_images"].shape == (3, *shape)
        use(Builder(tmp_path, shape=(32, 32, 4)))
        with pytest.raises(InputError, match="expected uint8 images of one size, grey or in colours"):
            tfds.read(tmp_path, "mnist")

    @pytest.mark.parametrize(
        ("answer", "unreachable"),
        [
            (urllib.error.HTTPError("https://a.org", 404, "not found", Message(), None), None),
            (http.client.BadStatusLine("?"), None),
            (OSError("no network"), "a.org"),
        ],
    )
    def test_a_site_that_answers_is_there(self, answer: Any, unreachable: Any, monkeypatch: Any) -> None:
        def answering(*_: Any, **__: Any) -> None:
            raise answer

        monkeypatch.setattr("urllib.request.urlopen", answering)
        assert tfds._unreachable(["https://a.org/x.gz"]) == unreachable


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAXAE_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder() == Path("/a")
    monkeypatch.delenv("JAXAE_CACHE")
    assert cache_folder() == Path("/b/jaxae")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "jaxae"


def test_data_sets_are_frozen() -> None:
    split = Split(np.zeros((1, 28, 28, 1), np.uint8), np.zeros(1, np.int32))
    dataset = Dataset("one", split, split, 10)
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.name = "two"  # pyright: ignore[reportAttributeAccessIssue]
