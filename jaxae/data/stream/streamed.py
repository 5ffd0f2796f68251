"""Data sets whose training images stay on disk: more data than memory."""

import hashlib
import math
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int

from jaxae.bounds import check, expanded, host_memory
from jaxae.data.dataset import Dataset, Split
from jaxae.data.reading import Part
from jaxae.data.stream.document import FILE, read_document
from jaxae.data.stream.shards import Shards
from jaxae.data.unknown import is_there
from jaxae.storage.extra import extra

# Whether data are streamed: as they are asked to be, or as memory has it.
Stream = Literal["auto", "yes", "no"]

_THREADS = 2  # that read at once: they wait for Python's lock more than for a disk
_READ_AHEAD = 1 << 26  # bytes


@dataclass(frozen=True)
class StreamedSplit:
    """Images and labels on disk, read in any order.

    Attributes:
        shards: The records.
    """

    shards: Shards

    def __len__(self) -> int:
        return len(self.shards)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Height, width and channels of an image."""
        return self.shards.image_shape

    def batches(self, order: Int[np.ndarray, "steps batch"]) -> Generator[Part]:
        """The images and labels of each step, zero where the order has -1, read ahead by Grain's threads.

        Closing the iterator ends them.

        Raises:
            InputError: If a record is damaged.
        """
        grain = extra("grain", "grain", "stream")
        row_bytes = max(1, order.shape[1] * math.prod(self.image_shape))
        ahead = min(len(order), max(2, _READ_AHEAD // row_bytes))
        options = grain.ReadOptions(num_threads=min(_THREADS, ahead), prefetch_buffer_size=ahead)
        steps = grain.MapDataset.source(_Steps(self.shards, order)).to_iter_dataset(options)
        with closing(iter(steps)) as batches:
            yield from batches


@dataclass(frozen=True)
class _Steps:
    """The steps of an order by their number, as Grain reads them: each a batch."""

    shards: Shards
    order: Int[np.ndarray, "steps batch"]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, step: int) -> Part:
        row = self.order[step]
        there = row >= 0
        found = self.shards.read(row[there])
        if there.all():
            return found
        images = np.zeros((len(row), *self.shards.image_shape), np.uint8)
        labels = np.zeros(len(row), np.int32)
        images[there], labels[there] = found
        return Part(images, labels)


@dataclass(frozen=True, eq=False)
class StreamedDataset:
    """A data set whose training images are read from disk as they are needed; its test set is in memory.

    Attributes:
        name: Name of the set.
        train: Images and labels to train on.
        test: Images and labels to test on.
        num_classes: Number of classes.
        class_names: Names of the classes by their labels; none where they have no other than their numbers.
        notes: What was decided as the data were read, a clause each.
        digest: SHA-256 of all images and labels, as of the same data in memory.
    """

    name: str
    train: StreamedSplit
    test: Split
    num_classes: int
    class_names: tuple[str, ...]
    notes: tuple[str, ...]
    digest: str

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Height, width and channels of an image."""
        return self.train.image_shape


def stream(path: str | Path) -> StreamedDataset:
    """A data set of a folder that `write_stream` or `jaxae convert` wrote, for `fit`, to train in bounded memory.

    A training is, to the bits, that of the same data in memory.

    Raises:
        InputError: If the folder is none, grain or array_record is not installed, a file is missing or damaged, or the
            test set does not fit into memory.
    """
    check("a folder of records", path, Path)
    folder = expanded(path)
    document = read_document(folder)
    extra("grain", "grain", "stream")
    train, test = (Shards(folder, document, split) for split in ("train", "test"))
    return StreamedDataset(
        folder.resolve().name,
        StreamedSplit(train),
        Split(*test.read_all()),
        document.num_classes,
        document.class_names,
        document.notes,
        document.digest,
    )


def is_to_stream(data: str | Path, asked: Stream) -> bool:
    """Whether data are to be streamed: as asked, or where a training in memory would take more than half of that.

    It has the images twice: as they were read, and as its devices have them.

    Raises:
        InputError: If a folder of records is damaged.
    """
    if asked != "auto":
        return asked == "yes"
    path = Path(data)
    if not is_there(path / FILE):
        return False
    document = read_document(path)
    return 4 * (document.train.records + document.test.records) * math.prod(document.image_shape) > host_memory()


def count_of(dataset: Dataset | StreamedDataset) -> int:
    """Number of images to train on."""
    return len(dataset.train if isinstance(dataset, StreamedDataset) else dataset.train.labels)


def digest_of(dataset: Dataset | StreamedDataset) -> str:
    """SHA-256 of all images and labels."""
    if isinstance(dataset, StreamedDataset):
        return dataset.digest
    digest = hashlib.sha256()
    for array in (*dataset.train, *dataset.test):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
