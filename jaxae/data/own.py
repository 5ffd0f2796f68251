"""Data of one's own, in whatever format: read, made one shape, divided, and kept where that takes long."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxae.config import Reading
from jaxae.data.cache import Arrays, cached
from jaxae.data.division import divide
from jaxae.data.fitting import fit_images, fitting_note
from jaxae.data.pixels import check_images, check_labels
from jaxae.data.reading import Found, Part, Source
from jaxae.errors import InputError
from jaxae.storage.files import open_regular

_EMNIST_NOTE = "EMNIST's images lie on their side, as its authors left them: --upright (upright=True) turns them"
_VERSION = 1  # of what is kept: another one where the same files are read as other arrays
_CHUNK = 1 << 20
_MOST_CLASSES = int(np.iinfo(np.int32).max)


def read_source(source: Source, reading: Reading) -> Found:
    """What files hold, as the reading asks, with a test set; kept by their content where reading takes long.

    Raises:
        InputError: If a file cannot be read, or there are other data than expected.
    """
    where = str(source.path)

    def build() -> Found:
        emnist = any("emnist" in path.name.lower() for path in (source.path, *source.files[:4]))
        return finished(turned(source.read(reading, None), reading, emnist=emnist), reading, where)

    if source.slow or reading.size is not None:
        found = cached(f"own-{_digest(source, reading)}", lambda: _arrays(build()), lambda kept: _found(kept, where))
    else:
        found = build()
    for split in (found.train, found.test):
        if split is not None and split.images.dtype != np.uint8:
            raise InputError(
                f"expected uint8 images, got {split.images.dtype} in {where}: (255 * x).round() makes them so"
            )
    return found


def finished(found: Found, reading: Reading, where: str) -> Found:
    """What was found with its images as the reading asks, and a test set drawn where there is none.

    Raises:
        InputError: If images and labels are none, of two shapes or out of range; if a test set is asked for and there
            is one.
    """
    check_found(found, where)
    notes = [*found.notes, *fitting_note(found.train.images.shape[1:], reading)]
    train, test = (part and Part(fit_images(part.images, reading), part.labels) for part in (found.train, found.test))
    assert train is not None
    if test is None:
        train, test, note = divide(train, reading.test_share)
        notes.append(note)
    elif reading.test_share is not None:
        raise InputError(
            f"expected a test_share of data that have no test set, got {reading.test_share:g} of {where}, which has one"
        )
    num_classes = found.num_classes or 1 + max(int(part.labels.max()) for part in (train, test))
    return replace(found, train=train, test=test, num_classes=num_classes, notes=tuple(dict.fromkeys(notes)))


def turned(found: Found, reading: Reading, *, emnist: bool) -> Found:
    """EMNIST's images turned upright if the reading asks for that; of other data, what was found.

    Raises:
        InputError: If other data are to be turned.
    """
    if not emnist:
        if reading.upright:
            raise InputError("expected upright for EMNIST alone, whose images lie on their side, got other data")
        return found
    if not reading.upright:
        return replace(found, notes=(*found.notes, _EMNIST_NOTE))
    test = found.test and found.test._replace(images=upright(found.test.images))
    return replace(found, train=found.train._replace(images=upright(found.train.images)), test=test)


def upright(images: np.ndarray) -> np.ndarray:
    """Images with rows and columns exchanged."""
    return np.ascontiguousarray(images.swapaxes(1, 2))


def check_found(found: Found, where: str) -> None:
    """Refuse images and labels that are none, of two shapes, or out of range.

    Raises:
        InputError: If they are.
    """
    shape = found.train.images.shape[1:]
    # Labels become int32: none may be beyond it, whatever a file declares.
    num_classes = min(found.num_classes or _MOST_CLASSES, _MOST_CLASSES)
    for split, part in (("train", found.train), ("test", found.test)):
        if part is None:
            continue
        try:
            check_images(part.images, shape)
            check_labels(part.labels, num_classes, num_images=len(part.images))
        except InputError as error:
            raise InputError(f"{error} in the {split} split of {where}") from error


def _digest(source: Source, reading: Reading) -> str:
    """A digest of all that decides what is read: the files' names and content, and how they are read."""
    digest = hashlib.sha256(f"{_VERSION} {source.kind} {reading}".encode())
    root = source.path if source.path.is_dir() else source.path.parent
    for path in source.files:
        digest.update(f"\0{_relative(path, root)}\0".encode(errors="surrogateescape"))
        digest.update(_content_digest(path))
    return digest.hexdigest()[:32]


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _content_digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    try:
        with open_regular(path) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:  # a picture that is broken may be skipped, and is still another
        digest.update(f"{error.errno}".encode())
    return digest.digest()


def _arrays(found: Found) -> Arrays:
    assert found.test is not None
    return {
        **{f"train_{name}": array for name, array in zip(Part._fields, found.train, strict=True)},
        **{f"test_{name}": array for name, array in zip(Part._fields, found.test, strict=True)},
        "num_classes": np.asarray(found.num_classes, np.int32),
        "class_names": np.array(found.class_names, np.str_),
        "notes": np.array(found.notes, np.str_),
    }


def _found(arrays: Arrays, where: str) -> Found:
    """What `_arrays` made arrays of.

    Raises:
        InputError: If they are others.
    """
    try:
        train, test = (Part(*(arrays[f"{split}_{name}"] for name in Part._fields)) for split in ("train", "test"))
        names, notes = (tuple(map(str, arrays[name])) for name in ("class_names", "notes"))
        found = Found(train, test, int(arrays["num_classes"]), names, notes)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"expected the arrays of a data set, got others: {error}") from error
    check_found(found, where)
    return found
