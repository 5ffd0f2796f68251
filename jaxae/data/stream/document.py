"""What a folder of records says of itself: `stream.json`, beside the shards of each split and the sums of its records.

stream.json               shapes, classes, shards and digests
train-00000.array_record  a shard: records of a label (int32, little-endian) and the pixels of an image (uint8)
train.sums                the CRC-32 of each record (uint32, little-endian), in the order of the shards
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jaxae.errors import InputError, brief
from jaxae.storage import documents
from jaxae.storage.files import write_text

FILE = "stream.json"
LABEL_BYTES = 4
_VERSION = 1
_LARGEST_INT = 2**31 - 1


@dataclass(frozen=True)
class Shard:
    """A file of records.

    Attributes:
        file: Its name.
        records: Number of its records.
        size: Number of its bytes.
    """

    file: str
    records: int
    size: int


@dataclass(frozen=True)
class SplitDocument:
    """A split: its shards in their order, and the digest of its records' sums.

    Attributes:
        shards: Its shards.
        sums: SHA-256 of the file of sums.
    """

    shards: tuple[Shard, ...]
    sums: str

    @property
    def records(self) -> int:
        """Number of records."""
        return sum(shard.records for shard in self.shards)


@dataclass(frozen=True)
class Document:
    """What `stream.json` holds.

    Attributes:
        image_shape: Height, width and channels of an image.
        num_classes: Number of classes.
        class_names: Their names by their labels; none where they are numbers.
        notes: What was decided as the data were read, a clause each.
        digest: SHA-256 of all images and labels, as of the same data in memory.
        train: Training set.
        test: Test set.
    """

    image_shape: tuple[int, ...]
    num_classes: int
    class_names: tuple[str, ...]
    notes: tuple[str, ...]
    digest: str
    train: SplitDocument
    test: SplitDocument

    def write(self, folder: Path) -> None:
        """Write the document into its folder."""
        write_text(folder / FILE, json.dumps({"version": _VERSION, **asdict(self)}, indent=1) + "\n")


def read_document(folder: Path) -> Document:
    """The document of a folder of records.

    Raises:
        InputError: If there is none, or it is none.
    """
    path = folder / FILE
    if not path.is_file():
        raise InputError(f"expected a folder that jaxae convert wrote, got {folder} without {FILE}")
    try:
        return _document(documents.read(path))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"expected the {FILE} that jaxae convert writes, got {path}: {brief(error, 120)}") from error


def _document(found: Any) -> Document:
    if found["version"] != _VERSION:
        raise ValueError(f"its version is {found['version']!r}, not {_VERSION}")
    shape = tuple(_counted(side) for side in found["image_shape"])
    names = tuple(map(_text, found["class_names"]))
    classes = _counted(found["num_classes"])
    if len(shape) != 3 or len(names) not in (0, classes):
        raise ValueError("it has other than three sides of an image, or not a name for each class")
    splits = [_split(found[name]) for name in ("train", "test")]
    return Document(shape, classes, names, tuple(map(_text, found["notes"])), _text(found["digest"]), *splits)


def _split(found: Any) -> SplitDocument:
    shards = tuple(
        Shard(_text(one["file"]), _counted(one["records"]), _counted(one["size"], 2**63)) for one in found["shards"]
    )
    if not shards or any(Path(shard.file).name != shard.file for shard in shards):
        raise ValueError("it has a split of no shards, or of shards elsewhere")
    split = SplitDocument(shards, _text(found["sums"]))
    _counted(split.records)
    return split


def _counted(value: object, most: int = _LARGEST_INT) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
        raise ValueError(f"{value!r} where a number from 1 to {most} was expected")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} where a text was expected")
    return value
