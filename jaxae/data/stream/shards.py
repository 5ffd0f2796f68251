"""Records of a split at random: images and labels by their number, each held against its sum."""

import hashlib
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxae.data.fitting import empty_images
from jaxae.data.reading import Part
from jaxae.data.stream.document import LABEL_BYTES, Document
from jaxae.errors import InputError, brief
from jaxae.storage.extra import extra

# array_record's own reader, which has no types.
_Reader = Any

# At random nothing is read ahead.
_OPTIONS, _BUFFER = "readahead_buffer_size:0", 1 << 12
_AT_ONCE = 256


class Shards:
    """The records of one split, read by several threads at once.

    Args:
        folder: Folder of records.
        document: What it says of itself.
        split: Name of the split, "train" or "test".

    Raises:
        InputError: If array_record is not installed, or a file is missing or not as it was written.
    """

    def __init__(self, folder: Path, document: Document, split: str):
        self._module = extra("array_record.python.array_record_module", "array_record", "stream")
        own = document.train if split == "train" else document.test
        self._folder, self._document, self._shards = folder, document, own.shards
        self._ends = np.cumsum([shard.records for shard in own.shards])
        for shard in own.shards:
            path = folder / shard.file
            came = path.stat().st_size if path.is_file() else None
            if came != shard.size:
                told = "none" if came is None else f"{came}: it has changed since it was written"
                raise InputError(f"expected {shard.size} bytes of the shard {path}, got {told}")
        self._sums = _read_sums(folder / f"{split}.sums", len(self), own.sums)
        self._readers: list[_Reader | None] = [None] * len(own.shards)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Height, width and channels of an image."""
        return self._document.image_shape

    def read(self, numbers: Int[np.ndarray, " n"]) -> Part:
        """Images and labels of records by their numbers, in that order.

        Raises:
            InputError: If a record is damaged, or has changed since it was written.
        """
        records = [b""] * len(numbers)
        of = np.searchsorted(self._ends, numbers, side="right")
        for place in np.unique(of):
            rows = np.flatnonzero(of == place)
            positions = numbers[rows] - (self._ends[place] - self._shards[place].records)
            for row, record in zip(rows, self._read_shard(int(place), positions.tolist()), strict=True):
                records[row] = record
        size = LABEL_BYTES + int(np.prod(self.image_shape))
        sums = self._sums[numbers].tolist()
        for record, number, wanted in zip(records, numbers, sums, strict=True):
            if len(record) != size:
                raise InputError(f"expected {size} bytes of a label and an image, got {len(record)}{self._at(number)}")
            if zlib.crc32(record) != wanted:
                raise InputError(f"expected a record as it was written, got another{self._at(number)}")
        rows = np.frombuffer(b"".join(records), np.uint8).reshape(len(records), size)
        labels = rows[:, :LABEL_BYTES].copy().view("<i4")[:, 0].astype(np.int32)
        if len(outside := np.flatnonzero((labels < 0) | (labels >= self._document.num_classes))):
            first = int(outside[0])
            classes = self._document.num_classes
            raise InputError(f"expected labels from 0 to {classes - 1}, got {labels[first]}{self._at(numbers[first])}")
        return Part(rows[:, LABEL_BYTES:].reshape(-1, *self.image_shape), labels)

    def read_all(self) -> Part:
        """All images and labels, in memory.

        Raises:
            InputError: If they do not fit into it, or `read` refuses one.
        """
        images = empty_images(len(self), self.image_shape)
        labels = np.empty(len(self), np.int32)
        for begin in range(0, len(self), _AT_ONCE):
            some = np.arange(begin, min(begin + _AT_ONCE, len(self)))
            images[some[0] : some[-1] + 1], labels[some[0] : some[-1] + 1] = self.read(some)
        return Part(images, labels)

    def _read_shard(self, place: int, positions: Sequence[int]) -> Sequence[bytes]:
        reader = self._reader(place)
        try:
            return reader.read(positions)
        except (RuntimeError, ValueError, IndexError) as error:
            # Of many it does not say which.
            for position in positions if len(positions) > 1 else ():
                self._read_shard(place, [position])
            first = int(self._ends[place]) - self._shards[place].records
            raise InputError(
                f"expected a sound record, got a damaged one{self._at(first + positions[0])}: {brief(error, 80)}"
            ) from error

    def _reader(self, place: int) -> _Reader:
        with self._lock:
            if self._readers[place] is None:
                shard = self._shards[place]
                path = self._folder / shard.file
                reader = self._module.ArrayRecordReader(str(path), _OPTIONS, file_reader_buffer_size=_BUFFER)
                # Of a file that is damaged at its end it says that it has none.
                if reader.num_records() != shard.records:
                    raise InputError(
                        f"expected {shard.records} records of the shard {path}, got {reader.num_records()} that can be"
                        " read"
                    )
                self._readers[place] = reader
            return self._readers[place]

    def _at(self, number: int | np.integer) -> str:
        """Where a record is, for a message."""
        place = int(np.searchsorted(self._ends, number, side="right"))
        within = int(number) - (int(self._ends[place]) - self._shards[place].records)
        return f" in record {within} of {self._folder / self._shards[place].file}"


def _read_sums(path: Path, count: int, digest: str) -> np.ndarray:
    """The sums of a split's records, mapped from their file.

    Raises:
        InputError: If they are missing or others.
    """
    if not path.is_file() or path.stat().st_size != 4 * count:
        raise InputError(f"expected the sums of {count} records in {path}, got none or others")
    sums = np.memmap(path, "<u4", "r")
    if hashlib.sha256(sums.data).hexdigest() != digest:
        raise InputError(f"expected the sums of the records as they were written, got others in {path}")
    return sums
