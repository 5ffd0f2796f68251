"""IDX files of any name, told by what they begin with: images and labels of one data set."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from jaxae.data import idx
from jaxae.data.formats.arrays import found_of, split_of
from jaxae.data.reading import Found, Part
from jaxae.errors import InputError, brief

_NOISE = re.compile(r"(images?|labels?|idx\d|ubyte|train|test|t10k|valid(ation)?|val|gz)")


def is_idx(path: Path) -> bool:
    """Whether a file begins as IDX files of bytes do, gzipped or not."""
    return _ndim(path) in (1, 3)


def one_set(files: Iterable[Path], where: str) -> dict[str, Path]:
    """The files of one data set among IDX files, as "train images", "train labels", "test images", ...

    Of two that hold the same, such as a file and its gzipped twin, the one of the shorter path is taken.

    Raises:
        InputError: If they are of several data sets, one cannot be read, or they lack images or labels.
    """
    sets: dict[str, dict[str, Path]] = {}
    for path in sorted(files, key=lambda one: (len(one.parts), len(one.name), str(one))):
        kind = {3: "images", 1: "labels"}.get(_ndim(path), "")
        name = re.sub(r"[^a-z0-9]+", "-", _NOISE.sub("", path.name.lower())).strip("-")
        first = sets.setdefault(name, {}).setdefault(f"{_split(path)} {kind}", path)
        if first.parent != path.parent and not _same(first, path, _ndim(path)):
            raise InputError(f"expected the IDX files of one data set in {where}, got {first} and {path}: name a file")
    if len(sets) != 1:
        told = brief(", ".join(map(repr, sets)), 120)
        raise InputError(
            f"expected the IDX files of one data set in {where}, got those of {told}: name one of its files"
        )
    (found,) = sets.values()
    for split in {role.split()[0] for role in found}:
        if missing := [kind for kind in ("images", "labels") if f"{split} {kind}" not in found]:
            raise InputError(f"expected an IDX file of {split} {missing[0]} in {where}, got none")
    return found


def beside(path: Path, files: Iterable[Path]) -> list[Path]:
    """The files of the data set that an IDX file is of."""
    name = _NOISE.sub("", path.name.lower())
    return [one for one in files if _NOISE.sub("", one.name.lower()) == name]


def read_files(files: Mapping[str, Path]) -> Found:
    """A data set of the files that `one_set` found.

    Raises:
        InputError: If one cannot be read.
    """
    parts = {}
    for split in dict.fromkeys(role.split()[0] for role in files):
        images, labels = idx.read(files[f"{split} images"], 3), idx.read(files[f"{split} labels"], 1)
        parts[split] = Part(images[..., None], labels.astype(np.int32))
    if "train" not in parts:
        (split,) = list(parts)[:1]
        parts["train"] = parts.pop(split)
    return found_of(parts)


def _split(path: Path) -> str:
    """The split that a file's name says, or its folder's."""
    return split_of(path.name) or split_of(path.parent.name) or "train"


def _same(first: Path, second: Path, ndim: int) -> bool:
    """Whether two files hold the same, gzipped or not."""
    return np.array_equal(idx.read(first, ndim), idx.read(second, ndim))


def _ndim(path: Path) -> int:
    """Number of dimensions that an IDX file of bytes says it has; 0 of any other file."""
    try:
        start = idx.first_bytes(path, 4)
    except OSError:
        return 0
    return start[3] if len(start) == 4 and start[:3] == b"\0\0\x08" else 0
