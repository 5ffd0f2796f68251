"""What stands between a data set's files and its arrays: damaged caches, readings that do not suit, odd names."""

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxae import bounds
from jaxae.config import Reading
from jaxae.data.cache import cache_folder
from jaxae.data.dataset import Dataset, Split, files_of, load
from jaxae.data.fitting import empty_images, fit_images
from jaxae.data.unknown import is_there
from jaxae.errors import InputError
from jaxae.storage import npz

IMAGES = np.zeros((4, 28, 28, 1), np.uint8)
LABELS = np.arange(4)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "no-tfds"))


def arrays(images: np.ndarray = IMAGES, labels: np.ndarray = LABELS) -> dict[str, np.ndarray]:
    return {
        f"{split}_{name}": one for split in ("train", "test") for name, one in (("images", images), ("labels", labels))
    }


def few_pictures(folder: Path, count: int = 3) -> Path:
    for split in ("train", "test"):
        for number in range(count):
            path = folder / split / str(number % 2) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(IMAGES[0, ..., 0]).save(path)
    return folder


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        (arrays(IMAGES / np.float32(255)), "expected uint8 images, got float32 in the train split of digits"),
        (arrays(labels=LABELS[:2]), "expected a label for each of 4 images, got 2 in the train split of digits"),
    ],
)
def test_a_kept_set_of_other_arrays_is_built_anew(kept, told, caplog):
    path = cache_folder() / "data" / "digits-bicubic.npz"
    path.parent.mkdir(parents=True)
    npz.write(path, kept | {"num_classes": np.array(10)})
    assert load("digits").train.images.dtype == np.uint8
    assert [record.getMessage() for record in caplog.records] == [f"building cached data anew: {told}"]


@pytest.mark.parametrize("lost", ["train_images", "num_classes", "notes"])
def test_kept_pictures_of_other_arrays_are_read_anew(lost, tmp_path, caplog):
    folder = few_pictures(tmp_path / "pictures")
    before = load(folder)
    (path,) = (cache_folder() / "data").glob("own-*.npz")
    kept = {name: array for name, array in npz.read(path).items() if name != lost}
    npz.write(path, kept)
    np.testing.assert_array_equal(load(folder).train.images, before.train.images)
    (told,) = (record.getMessage() for record in caplog.records)
    assert told.startswith("building cached data anew: expected the arrays of a data set, got others: ")


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (IMAGES[..., [0] * 4], "expected uint8 images of 1 or 3 channels to make others, got uint8 of 4x28x28x4"),
        (IMAGES / np.float32(255), "1 or 3 channels to make others, got float32 of 4x28x28x1"),
    ],
)
def test_images_that_cannot_be_resampled(images, told):
    assert fit_images(images, Reading(size=28)) is images
    with pytest.raises(InputError, match=told):
        fit_images(images, Reading(size=14))


def test_pictures_beyond_memory_are_refused_before_they_are_held(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"^expected 4 images of 99999999x99999999x1 within .* GB of memory, got "):
        empty_images(4, (99_999_999, 99_999_999, 1))
    folder = few_pictures(tmp_path / "pictures")
    monkeypatch.setattr(bounds, "host_memory", lambda: 5 * 784)
    with pytest.raises(InputError, match=r"^expected 6 pictures within 0\.0 GB of memory, got 0\.0 GB"):
        load(folder)


def test_a_picture_that_the_system_does_not_give_is_left_out(tmp_path):
    folder = few_pictures(tmp_path / "pictures")
    (folder / "train" / "1" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    dataset = load(folder, skip_broken=True)
    assert len(dataset.train.images) == 3
    assert "gone.png" in " ".join(dataset.notes)


def test_a_path_below_a_folder_that_cannot_be_entered_is_not_there(monkeypatch):
    def exists(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", exists)
    assert not is_there(Path("closed/mine"))


def test_a_data_set_of_other_arrays_names_the_split():
    with pytest.raises(InputError, match=r"^expected a label for each of 4 images, got 2 in the test split$"):
        Dataset("mine", Split(IMAGES, LABELS), Split(IMAGES, LABELS[:2]), num_classes=4)


def test_a_path_beside_nothing_has_no_name_close_to_it(tmp_path):
    with pytest.raises(InputError, match=r"^expected a known data set, got .*: 'digits' needs no download"):
        load(f"{tmp_path}/nowhere/mine.npz")


def test_the_files_of_data_that_load_refuses_are_what_was_named(tmp_path):
    path = tmp_path / "data.txt"
    path.touch()
    assert files_of(path) == [path]


def test_packed_idx_that_does_not_unpack_is_no_idx(tmp_path):
    cut = gzip.compress(struct.pack(">BBBB3I", 0, 0, 8, 3, 1, 28, 28) + bytes(784), compresslevel=0)[:12]
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(cut)
    with pytest.raises(InputError, match=r"^expected a data set in .*, got train-images-idx3-ubyte\.gz$"):
        load(tmp_path)


def test_a_pickled_batch_of_a_text_that_no_bytes_are_says_so(tmp_path):
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        (tmp_path / name).write_bytes(pickle.dumps({"data": "\u20ac" * 3072, "labels": [0]}))
    with pytest.raises(InputError, match=r"^expected a batch of images and as many labels in .*data_batch_1, got"):
        load(tmp_path)
