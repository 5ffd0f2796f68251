"""Data sets written as records: pictures one at a time, so that they need not fit into memory; others from memory."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int

from jaxae.bounds import expanded
from jaxae.config import Reading
from jaxae.data.dataset import Dataset, check_data_dir, load_as
from jaxae.data.division import to_test_on
from jaxae.data.formats import hugging_face
from jaxae.data.formats.look import look
from jaxae.data.own import check_found, turned
from jaxae.data.reading import Found, Part, Source
from jaxae.data.stream.writing import SHARD_MEGABYTES, write_stream
from jaxae.errors import InputError
from jaxae.storage.files import check_new_folder, refuse_unwritable

_AT_ONCE = 256


def convert(
    data: str, folder: Path, reading: Reading, data_dir: Path | None = None, *, shard_megabytes: int = SHARD_MEGABYTES
) -> tuple[str, ...]:
    """Write a data set of a name or path as records, the same images as `load` has; what was decided, a clause each.

    Folders of pictures, and those in parquet, are decoded one at a time; meanwhile they lie beside the new folder, with
    three bytes a pixel.

    Raises:
        InputError: If the data cannot be had or read, or the folder is there or cannot be written.
    """
    check_new_folder(folder)
    source = _pictures(data)
    # What lies on its side is turned in memory.
    if source is None or reading.upright:
        dataset = load_as(reading, data, data_dir)
        _write_loaded(folder, dataset, shard_megabytes)
        return dataset.notes
    check_data_dir(data, data_dir)
    with refuse_unwritable(folder, "a folder"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name[:40]}.")
    with scratch:
        emnist = any("emnist" in path.name.lower() for path in (source.path, *source.files[:4]))
        found = turned(source.read(reading, Path(scratch.name)), reading, emnist=emnist)
        return _write_found(folder, found, reading, str(source.path), shard_megabytes)


def _pictures(data: str) -> Source | None:
    """The pictures that a name or path is; None where it is something else, or nothing."""
    if data.startswith(hugging_face.HUB):
        return look(hugging_face.downloaded(data))
    path = expanded(data)
    if not (path.is_dir() or (path.is_file() and path.suffix.lower() in hugging_face.SUFFIXES)):
        return None
    source = look(path)
    return source if source.kind in ("pictures", "Hugging Face") else None


def _write_loaded(folder: Path, dataset: Dataset, shard_megabytes: int) -> None:
    write_stream(
        folder,
        [dataset.train],
        [dataset.test],
        num_classes=dataset.num_classes,
        class_names=dataset.class_names,
        notes=dataset.notes,
        shard_megabytes=shard_megabytes,
    )


def _write_found(folder: Path, found: Found, reading: Reading, where: str, shard_megabytes: int) -> tuple[str, ...]:
    check_found(found, where)
    places = np.arange(len(found.train.labels))
    notes = found.notes
    if found.test is None:
        is_test, note = to_test_on(found.train.labels, reading.test_share)
        train, test = (_batches(found.train, places[chosen]) for chosen in (~is_test, is_test))
        notes = (*notes, note)
    elif reading.test_share is not None:
        raise InputError(
            f"expected a test_share of data that have no test set, got {reading.test_share:g} of {where}, which has one"
        )
    else:
        train, test = _batches(found.train, places), _batches(found.test, np.arange(len(found.test.labels)))
    write_stream(
        folder,
        train,
        test,
        num_classes=found.num_classes,
        class_names=found.class_names,
        notes=notes,
        shard_megabytes=shard_megabytes,
    )
    return notes


def _batches(part: Part, places: Int[np.ndarray, " n"]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for begin in range(0, len(places), _AT_ONCE):
        some = places[begin : begin + _AT_ONCE]
        yield np.asarray(part.images[some]), part.labels[some]
