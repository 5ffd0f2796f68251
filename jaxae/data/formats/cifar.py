"""CIFAR-10 and CIFAR-100 as their authors packed them: binary batches, and pickled ones of which nothing is run."""

from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from jaxae.data.formats.arrays import found_of
from jaxae.data.reading import Found, Part
from jaxae.errors import InputError, brief
from jaxae.storage.files import read_bytes
from torch_ref.pickle_calls import Made
from torch_ref.pickle_walk import walk

_PIXELS = 3 * 32 * 32
_LARGEST = 1 << 29  # bytes of a file: CIFAR-100's have 154 million
_TEN = tuple(f"data_batch_{number}" for number in range(1, 6))
# Files to train on, the one to test on, and the one of names.
_SETS = {
    "CIFAR-10's binary batches": (tuple(f"{name}.bin" for name in _TEN), "test_batch.bin", "batches.meta.txt"),
    "CIFAR-100's binary batches": (("train.bin",), "test.bin", "fine_label_names.txt"),
    "CIFAR-10's pickled batches": (_TEN, "test_batch", "batches.meta"),
    "CIFAR-100's pickled batches": (("train",), "test", "meta"),
}


def find(files: Iterable[Path]) -> tuple[str, tuple[Path, ...]] | None:
    """The name of the CIFAR set that these files are, and its own among them; None where they are none."""
    there = {path.name: path for path in files}
    for kind, (trains, test, names) in _SETS.items():
        # What has names as common as "train" is CIFAR's only beside the file of names.
        if trains[0] in there and test in there and (names in there or len(trains) > 1 or ".bin" in test):
            return kind, tuple(there[name] for name in (*trains, test, names) if name in there)
    return None


def read_batches(kind: str, files: Sequence[Path]) -> Found:
    """A data set of the files that `find` found; of CIFAR-100's labels the fine ones.

    Raises:
        InputError: If a file cannot be read, is damaged, or is no batch; nothing of a pickle is ever run.
    """
    trains, test, names = _SETS[kind]
    pickled = "pickled" in kind
    there = {path.name: path for path in files}
    read = _pickled if pickled else _binary
    batches = [read(there[name]) for name in trains if name in there]
    train = Part(*(np.concatenate(arrays) for arrays in zip(*batches, strict=True)))
    class_names = _names(there[names], pickled) if names in there else ()
    notes = () if len(batches) == len(trains) else (f"{len(batches)} of {len(trains)} batches are there",)
    return found_of(
        {"train": train, "test": Part(*read(there[test]))},
        num_classes=100 if "100" in kind else 10,
        class_names=class_names,
        notes=notes,
    )


def _binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    content = np.frombuffer(_content(path), np.uint8)
    # CIFAR-100 has the coarse label before the fine one.
    labels = 2 if path.name in ("train.bin", "test.bin") else 1
    if not len(content) or len(content) % (labels + _PIXELS):
        raise InputError(f"expected records of {labels + _PIXELS} bytes in {path}, got {len(content)} bytes")
    rows = content.reshape(-1, labels + _PIXELS)
    return _images(rows[:, labels:]), rows[:, labels - 1].astype(np.int32)


def _pickled(path: Path) -> tuple[np.ndarray, np.ndarray]:
    batch = _mapping(path)
    data, labels = _array(batch.get("data")), batch.get("fine_labels", batch.get("labels"))
    numbers = labels.parts if isinstance(labels, Made) else ()
    whole = len(numbers) > 0 and all(type(label) is int and 0 <= label < 256 for label in numbers)
    if data is None or not whole or len(numbers) * _PIXELS != len(data):
        raise InputError(f"expected a batch of images and as many labels in {path}, got another pickle")
    return _images(data.reshape(-1, _PIXELS)), np.array(numbers, np.int32)


def _mapping(path: Path) -> dict[str, Any]:
    """What a pickled mapping has under texts, of Python 2 or 3, as the walk tells its parts."""
    try:
        whole = walk(BytesIO(_content(path)), inert=True).whole
    except InputError:
        raise
    except Exception as error:  # a damaged pickle is tripped over in as many ways as it has operations
        raise InputError(f"expected a batch of CIFAR, got {path}: {brief(error, 200)}") from error
    if not isinstance(whole, Made) or whole.kind != "dict" or len(whole.parts) != len(whole.values):
        raise InputError(f"expected a pickled mapping in {path}, got another pickle")
    return {_text(key): value for key, value in zip(whole.parts, whole.values, strict=True)}


def _array(made: object) -> np.ndarray | None:
    """The bytes of an array [n, 3072] of bytes; None of anything else."""
    if not isinstance(made, Made) or not made.kind.endswith(".multiarray._reconstruct"):
        return None
    state = made.state.parts if isinstance(made.state, Made) else ()
    if len(state) != 5 or not isinstance(state[2], Made) or state[2].kind != "numpy.dtype" or state[3]:
        return None
    content = _bytes(state[4])
    if content is None or not state[2].given or _text(state[2].given[0]) not in ("u1", "|u1", "B"):
        return None
    return np.frombuffer(content, np.uint8)


def _bytes(value: object) -> bytes | None:
    """Bytes as pickles have them: as they are, as a text of Python 2, or as one that is to be encoded."""
    if isinstance(value, Made) and value.kind == "_codecs.encode":
        value = value.given[0] if value.given else None
    if isinstance(value, str):
        try:
            return value.encode("latin1")
        except UnicodeEncodeError:
            return None
    return bytes(value) if isinstance(value, bytes | bytearray) else None


def _text(value: object) -> str:
    content = _bytes(value)
    return "" if content is None else content.decode("latin1")


def _names(path: Path, pickled: bool) -> tuple[str, ...]:
    if not pickled:
        return tuple(_content(path).decode("utf-8", "replace").split())
    mapping = _mapping(path)
    names = mapping.get("fine_label_names", mapping.get("label_names"))
    return tuple(_text(name) for name in names.parts) if isinstance(names, Made) else ()


def _images(rows: np.ndarray) -> np.ndarray:
    """Images [n, 32, 32, 3] of rows that have one channel after the other."""
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _content(path: Path) -> bytes:
    try:
        return read_bytes(path, _LARGEST)
    except OSError as error:
        raise InputError(f"expected a batch of CIFAR, got {path}: {error.strerror or error}") from error
