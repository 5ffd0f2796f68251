"""What a reader of data of one's own is, and what it found."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxae.config import Reading
from jaxae.errors import InputError, brief

_LONGEST_NAME = 60  # of a class


class Part(NamedTuple):
    """Images of one shape and their labels, as a reader found them."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Found:
    """What a reader found.

    Attributes:
        train: Training set; where there is no test set, all there is.
        test: Test set, None where there is none.
        num_classes: Number of classes, None where only the labels tell.
        class_names: Names of the classes, by their labels; none where they are numbers.
        notes: What was decided in reading, a clause each.
    """

    train: Part
    test: Part | None = None
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """Files that are a data set in some format.

    Attributes:
        kind: Name of the format, for messages.
        path: Path that was named: a file or a folder.
        files: Files that are read.
        read: Function that reads them; those that decode pictures keep them in a folder, where one is given, rather
            than in memory.
        slow: Whether reading takes longer than reading again what was kept of it.
    """

    kind: str
    path: Path
    files: tuple[Path, ...]
    read: Callable[[Reading, Path | None], Found]
    slow: bool = False


def number_labels(named: Mapping[str, np.ndarray], where: str) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Labels of each split as numbers, and the names that they stand for, sorted; none where they are numbers already.

    One column is a vector, as are rows of one-hot labels.

    Raises:
        InputError: If they are several to an image, or neither numbers nor texts.
    """
    vectors = {split: _vector(np.asarray(labels), where) for split, labels in named.items()}
    kinds = {labels.dtype.kind for labels in vectors.values()}
    if kinds <= {"i", "u"}:
        return vectors, ()
    if kinds != {"U"}:
        told = ", ".join(sorted({str(labels.dtype) for labels in vectors.values()}))
        raise InputError(f"expected labels to be names or a vector of integers, got {brief(told)} in {where}")
    names = np.unique(np.concatenate(list(vectors.values())))
    if odd := [name for name in names if len(name) > _LONGEST_NAME or "\0" in name]:
        raise InputError(
            f"expected names of classes of at most {_LONGEST_NAME} characters in {where}, got {brief(odd[0])}"
        )
    numbers = {split: np.searchsorted(names, labels).astype(np.int32) for split, labels in vectors.items()}
    return numbers, tuple(map(str, names))


def _vector(labels: np.ndarray, where: str) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    if labels.ndim != 2:
        return labels
    numbers = labels.dtype.kind in "iufb" and len(labels) > 0
    if numbers and ((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all():
        return labels.argmax(axis=1).astype(np.int32)
    shape = "x".join(map(str, labels.shape))
    raise InputError(f"expected one label for each image in {where}, got {shape} of them")
