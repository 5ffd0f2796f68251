"""Data of one's own that are none: what each file's refusal says."""

import io
import pickle
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxae.config import AS_FOUND
from jaxae.data.dataset import Dataset, Split, load
from jaxae.data.formats import look as looked
from jaxae.errors import InputError
from jaxae.storage import npz

IMAGES = np.zeros((4, 28, 28), np.uint8)
LABELS = np.arange(4)
SPLITS = ("train", "test")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "no-tfds"))


def table(header: str, *rows: str) -> bytes:
    return "\n".join([header, *rows]).encode()


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(shape: tuple[int, ...], values: bytes, *, kind: int = 2, name: bytes = b"X") -> bytes:
    """An element of MATLAB's Level 5: an array of a class of uint8, whose values are of a kind."""
    parts = [(6, struct.pack("<II", 9, 0)), (5, struct.pack(f"<{len(shape)}i", *shape)), (1, name), (kind, values)]
    return element(14, b"".join(element(*part) for part in parts))


def mat(*elements: bytes) -> bytes:
    return bytes(124) + struct.pack("<H", 0x0100) + b"IM" + b"".join(elements)


PIXELS = ",".join(f"pixel{number}" for number in range(4))
PICTURES = bytes(32 * 32 * 3 * 2)
CUT_OFF = zlib.compress(bytes(64))[:-4]
FILES: dict[str, tuple[dict[str, bytes], str]] = {
    "two tables of no split": (
        {f"train_{one}.csv": table(f"label,{PIXELS}", "1,2,3,4,5") for one in "ab"},
        "expected CSV files of train and test, by their names, in {folder}, got train_a.csv, train_b.csv",
    ),
    "a table without labels": (
        {"train.csv": table(PIXELS, "2,3,4,5")},
        "expected a column of labels (label, labels, class, target, y, digit, category, letter) in {folder}/train.csv, "
        "got none",
    ),
    "a quote that does not end": (
        {"train.csv": table(f"label,{PIXELS}", '"a"b\r"c,2,3,4,5')},
        "expected a row of CSV in line 2 of {folder}/train.csv, got ",
    ),
    "a field of a header that is too long": (
        {"train.csv": table("x" * 200_000 + f",{PIXELS}", "1,2,3,4,5")},
        "expected a CSV file, got {folder}/train.csv: field larger than field limit",
    ),
    "a class of too long a name": (
        {"train.csv": table(f"label,{PIXELS}", "x" * 61 + ",2,3,4,5")},
        "expected names of classes of at most 60 characters in {folder}, got xxx",
    ),
    "a CIFAR batch that is cut off": (
        {f"data_batch_{n}.bin": bytes(3073) for n in range(1, 6)} | {"test_batch.bin": bytes(3072)},
        "expected records of 3073 bytes in {folder}/test_batch.bin, got 3072 bytes",
    ),
    "a CIFAR batch that is no whole pickle": (
        {f"data_batch_{n}": pickle.dumps({b"data": b"x"})[:-2] for n in range(1, 6)} | {"test_batch": b"\x80\x04"},
        "expected a batch of CIFAR, got {folder}/data_batch_1: ",
    ),
    "matrices of no split": (
        {"a.mat": mat(), "b.mat": mat()},
        "expected train_32x32.mat and test_32x32.mat in {folder}, got a.mat, b.mat",
    ),
    "a label of SVHN beyond 10": (
        {"train_32x32.mat": mat(matrix((32, 32, 3, 2), PICTURES), matrix((2, 1), b"\x01\x0b", name=b"y"))},
        "expected labels from 1 to 10 in {folder}/train_32x32.mat, got others",
    ),
    "a packed matrix that is cut off": (
        {"train_32x32.mat": mat(struct.pack("<II", 15, len(CUT_OFF)) + CUT_OFF)},
        "expected a .mat file of SVHN, got {folder}/train_32x32.mat: it is truncated, or unpacks to far more",
    ),
    "a matrix of a negative size": (
        {"train_32x32.mat": mat(matrix((32, -1), b""))},
        "got {folder}/train_32x32.mat: it has a matrix of no kind or shape",
    ),
    "a matrix of other bytes than its shape": (
        {"train_32x32.mat": mat(matrix((2, 2), b"\x01\x02\x03"))},
        "got {folder}/train_32x32.mat: it has a matrix of 3 bytes, which are not those of its shape",
    ),
    "an element that claims too much": (
        {"train_32x32.mat": mat(struct.pack("<II", 14, 1000) + bytes(8))},
        "got {folder}/train_32x32.mat: it is truncated, or an element claims more than there is",
    ),
    "a prepared set of TFDS": (
        {"dataset_info.json": b"{}", "mnist-train.tfrecord": b""},
        "expected a set of TensorFlow Datasets by its name, with the folder that it is prepared in as data_dir, "
        "got {folder}",
    ),
    "classes in a table of another dialect": (
        {"a/0.png": b"", "labels.csv": table("file,label", "x" * 200_000 + ",1")},
        "expected a CSV file that can be read, got {folder}/labels.csv: field larger than field limit",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_folder_that_holds_no_data_says_what_is_wrong_with_which_file(case: str, tmp_path: Path) -> None:
    folder, (files, words) = tmp_path / "data", FILES[case]
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content or picture())
    with pytest.raises(InputError, match=re.escape(words.format(folder=folder))) as refused:
        load(folder)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500


def picture() -> bytes:
    file = io.BytesIO()
    Image.fromarray(IMAGES[0]).save(file, "PNG")
    return file.getvalue()


def test_a_file_of_no_kind_and_one_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("x")
    with pytest.raises(InputError, match=r"^expected a data set \(.*\), got .*data\.txt$"):
        load(tmp_path / "data.txt")
    with pytest.raises(InputError, match=r"^expected a data set that can be read, got .*: File name too long$"):
        looked.look(tmp_path / ("x" * 300))


def test_a_folder_of_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looked, "_MOST_FILES", 2)
    for number in range(3):
        (tmp_path / f"{number}.txt").touch()
    with pytest.raises(InputError, match=r"^expected at most 2 files of a data set, got more in "):
        looked.look(tmp_path)


@pytest.mark.parametrize("kind", ["data_batch_1.bin", "train.csv"])
def test_a_file_that_the_system_does_not_give(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"data_batch_{n}.bin" for n in range(1, 6)] + ["test_batch.bin"] if "batch" in kind else [kind]
    for name in names:
        (tmp_path / name).write_bytes(bytes(3073) if "batch" in kind else table(f"label,{PIXELS}", "1,2,3,4,5"))
    source = looked.look(tmp_path)
    for name in names:
        (tmp_path / name).unlink()
    with pytest.raises(InputError, match=r"^expected a .* got .*: No such file or directory$"):
        source.read(AS_FOUND, None)


def looked_reading():
    from jaxae.config import AS_FOUND

    return AS_FOUND


ARRAYS = {
    f"{split}_{name}": one for split in SPLITS for name, one in (("images", IMAGES[..., None]), ("labels", LABELS))
}


def test_saved_arrays_with_a_number_of_classes_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "saved.npz"
    npz.write(path, ARRAYS | {"num_classes": np.array(4.0, np.float32)})
    with pytest.raises(InputError, match=re.escape(f"expected num_classes to be an integer in {path}, got another")):
        load(path)


def test_names_of_other_classes_than_there_are() -> None:
    with pytest.raises(InputError, match=r"^expected names of 4 classes, got 3$"):
        Dataset("mine", *[Split(IMAGES[..., None], LABELS)] * 2, num_classes=4, class_names=("a", "b", "c"))
