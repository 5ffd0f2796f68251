"""Folders of records that `write_stream` or `jaxae convert` wrote, read whole."""

from pathlib import Path

from jaxae.data.reading import Found
from jaxae.data.stream.document import FILE, read_document
from jaxae.data.stream.shards import Shards


def is_records(folder: Path) -> bool:
    """Whether a folder is one of records."""
    return (folder / FILE).is_file()


def read_records(folder: Path) -> Found:
    """A data set of records.

    Raises:
        InputError: If array_record is not installed, the data do not fit into memory, or a file is missing or damaged.
    """
    document = read_document(folder)
    train, test = (Shards(folder, document, split).read_all() for split in ("train", "test"))
    return Found(train, test, document.num_classes, document.class_names, document.notes)
