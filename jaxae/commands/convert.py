"""Write a data set as records, to train on more than memory holds."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from jaxae.bounds import Count
from jaxae.cli import Flags, ReadingFlags, default
from jaxae.data.stream.writing import SHARD_MEGABYTES, write_stream
from jaxae.storage.files import check_new_folder

USUAL = ReadingFlags()


def main(
    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATA")],
    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")],
    reading: Flags[ReadingFlags] = USUAL,
    data_dir: Annotated[Path | None, default("the package's, or TFDS's own", "PATH")] = None,
    shard_megabytes: Count = SHARD_MEGABYTES,
) -> None:
    """Write a data set as a folder of records, which trainings read from disk: docs/streaming.md.

    Args:
        data: Data set by its name or path, as --data of a training takes it.
        folder: New folder to write.
        reading: How the data are read.
        data_dir: Folder of IDX files or of prepared TFDS data.
        shard_megabytes: Number of megabytes after which another shard is begun.
    """
    check_new_folder(folder)
    dataset = reading.read(data, data_dir)
    write_stream(
        folder,
        [dataset.train],
        [dataset.test],
        num_classes=dataset.num_classes,
        class_names=dataset.class_names,
        notes=dataset.notes,
        shard_megabytes=shard_megabytes,
    )
    print(f"kept in {folder}", file=sys.stderr)
