"""Write a data set as records, to train on more than memory holds."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from jaxae.bounds import Count
from jaxae.cli import Flags, ReadingFlags, default
from jaxae.data.stream.converting import convert
from jaxae.data.stream.writing import SHARD_MEGABYTES

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
    notes = convert(data, folder, reading, data_dir, shard_megabytes=shard_megabytes)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"kept in {folder}", file=sys.stderr)
