"""Altered files, each told by its number: the same number makes the same file again."""

import contextlib
import shutil
from functools import cache
from pathlib import Path
from random import Random
from typing import NamedTuple

from .readers import READERS


class Mutant(NamedTuple):
    """An altered file.

    Attributes:
        name: Path of the file that was altered, below the folder of the reader's samples.
        content: The file as it is now.
    """

    name: str
    content: bytes

    def place(self, samples: Path, folder: Path, *, whole: bool) -> Path:
        """Write it, with the sound others beside it where the folder is read as a whole; the file's path."""
        if whole:
            shutil.copytree(samples, folder, dirs_exist_ok=True)
        path = folder / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.content)
        return path


def mutant(samples: Path, reader: str, seed: int, number: int) -> Mutant:
    """The altered file of a number, out of the sound ones in the reader's folder."""
    random = Random(f"{reader} {seed} {number}")
    sound = _sound(samples)
    name, other = random.choice(list(sound)), random.choice(list(sound))
    content = sound[name]
    for _ in range(random.choice((1, 1, 1, 1, 2))):
        # What goes by the format makes nothing of a file that has lost it.
        with contextlib.suppress(Exception):
            content = random.choice(READERS[reader].alterations)(random, content, sound[other])
    return Mutant(name, content)


@cache
def _sound(samples: Path) -> dict[str, bytes]:
    paths = sorted(path for path in samples.rglob("*") if path.is_file())
    return {str(path.relative_to(samples)): path.read_bytes() for path in paths}
