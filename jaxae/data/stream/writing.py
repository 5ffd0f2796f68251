"""Folders of records, written from images that need not fit into memory."""

import contextlib
import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxae.bounds import Count, check
from jaxae.data.pixels import as_array, check_images, check_labels
from jaxae.data.stream.document import Document, Shard, SplitDocument
from jaxae.errors import InputError, brief
from jaxae.storage.extra import extra
from jaxae.storage.files import whole_or_absent_folder

# Images [n, H, W, C] of one byte a pixel, with a label for each.
Batches = Iterable[tuple[ArrayLike, ArrayLike]]

# Records at random are read one by one; what is compressed would be read more slowly, and images of noise gain nothing.
_OPTIONS = "group_size:1,uncompressed"
SHARD_MEGABYTES = 1024  # where none is asked for
_MEGABYTE = 10**6
_MOST_CLASSES = int(np.iinfo(np.int32).max)


def write_stream(
    path: str | Path,
    train: Batches,
    test: Batches,
    *,
    num_classes: int | None = None,
    class_names: Sequence[str] = (),
    notes: Sequence[str] = (),
    shard_megabytes: int = SHARD_MEGABYTES,
) -> None:
    """Write a folder of records for `stream`, whole or absent, from batches of images of which one is held at a time.

    `write_stream(path, [data.train], [data.test], num_classes=data.num_classes)` writes a data set in memory.

    Args:
        path: Folder to write.
        train: Batches to train on: pairs of uint8 images [n, H, W, C], all of one shape, and integer labels [n].
        test: Batches to test on.
        num_classes: Number of classes; by default one more than the largest label.
        class_names: Names of the classes by their labels; none where they are numbers.
        notes: What was decided as the data were read, a clause each.
        shard_megabytes: Megabytes after which another shard is begun.

    Raises:
        InputError: If array_record is not installed, images or labels are none, of two shapes or out of range, a split
            is empty, or the folder is there or cannot be written.
    """
    check("shard_megabytes", shard_megabytes, Count)
    check("num_classes", num_classes, Count | None)
    module = extra("array_record.python.array_record_module", "array_record", "stream")
    digest = hashlib.sha256()
    with whole_or_absent_folder(Path(path)) as folder:
        writer = _Writer(module, folder, digest, num_classes or _MOST_CLASSES, _MEGABYTE * shard_megabytes)
        splits = [writer.write(name, batches) for name, batches in (("train", train), ("test", test))]
        classes = num_classes or 1 + writer.largest_label
        if class_names and len(class_names) != classes:
            raise InputError(f"expected names of {classes} classes, got {len(class_names)}")
        names = tuple(map(str, class_names))
        Document(writer.shape, classes, names, tuple(notes), digest.hexdigest(), *splits).write(folder)


class _Writer:
    """Writes splits one after another; all images have the shape of the first."""

    def __init__(self, module: Any, folder: Path, digest: Any, num_classes: int, shard_bytes: int):
        self.shape: tuple[int, ...] = ()
        self.largest_label = 0
        self._module, self._folder, self._digest = module, folder, digest
        self._num_classes, self._shard_bytes = num_classes, shard_bytes

    def write(self, split: str, batches: Batches) -> SplitDocument:
        """Write a split's shards and sums."""
        all_labels: list[np.ndarray] = []
        sums = hashlib.sha256()
        shards: list[Shard] = []
        with (self._folder / f"{split}.sums").open("wb") as sums_file:
            for records in self._shards_of(self._records(split, batches, all_labels)):
                name = f"{split}-{len(shards):05d}.array_record"
                count = 0
                writer = self._module.ArrayRecordWriter(str(self._folder / name), _OPTIONS)
                try:
                    for record in records:
                        own = zlib.crc32(record).to_bytes(4, "little")
                        sums.update(own)
                        sums_file.write(own)
                        _carry_out(writer.write, record)
                        count += 1
                    _carry_out(writer.close)
                except BaseException:
                    with contextlib.suppress(RuntimeError):
                        writer.close()
                    raise
                shards.append(Shard(name, count, (self._folder / name).stat().st_size))
        if not shards:
            raise InputError(f"expected at least one image, got none in the {split} split")
        # Images first, then labels, as the data set in memory is digested.
        for labels in all_labels:
            self._digest.update(labels)
        return SplitDocument(tuple(shards), sums.hexdigest())

    def _records(self, split: str, batches: Batches, all_labels: list[np.ndarray]) -> Iterator[bytes]:
        for pair in batches:
            images, labels = map(as_array, ("images", "labels"), pair)
            self.shape = self.shape or images.shape[1:]
            try:
                if len(self.shape) != 3 or images.dtype != np.uint8:
                    raise InputError(f"expected uint8 images [n, h, w, c], got {images.dtype} of {images.ndim} axes")
                check_images(images, self.shape)
                check_labels(labels, self._num_classes, num_images=len(images))
            except InputError as error:
                raise InputError(f"{error} in the {split} split") from error
            images, labels = np.ascontiguousarray(images), labels.astype(np.int32)
            self._digest.update(images)
            all_labels.append(labels)
            self.largest_label = max(self.largest_label, int(labels.max()))
            for image, label in zip(images, labels.astype("<i4"), strict=True):
                yield label.tobytes() + image.tobytes()

    def _shards_of(self, records: Iterator[bytes]) -> Iterator[Iterator[bytes]]:
        """The records of each shard, whose end is the next one's beginning."""
        for first in records:

            def shard(first: bytes = first) -> Iterator[bytes]:
                yield first
                room = self._shard_bytes - len(first)
                while room >= len(first) and (record := next(records, None)) is not None:
                    yield record
                    room -= len(record)

            yield shard()


def _carry_out(act: Callable[..., None], *arguments: bytes) -> None:
    """Call a writer, which tells of a disk that is full by a RuntimeError.

    Raises:
        InputError: If it cannot write.
    """
    try:
        act(*arguments)
    except RuntimeError as error:
        raise InputError(f"expected room for records, got {brief(error, 120)}") from error
