"""CSV tables as Kaggle has them: a row for each image, a column for each pixel and one for the label."""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np

from jaxae.data.formats.arrays import found_of, split_of
from jaxae.data.reading import Found, Part, number_labels
from jaxae.errors import InputError, brief
from jaxae.storage.files import open_regular

_LABELS = ("label", "labels", "class", "target", "y", "digit", "category", "letter")
_NUMBERS = ("id", "index", "unnamed: 0", "", "imageid", "image_id")
_PIXEL = re.compile(r"[a-z]*[ _.-]?\d+|\d+x\d+|r\d+c\d+", re.IGNORECASE)
_CHUNK = 1 << 22  # bytes that are parsed at once
_LONGEST_HEADER = 1 << 24


@dataclass(frozen=True)
class _Columns:
    """Where things are in a row: the label, if there is one, and what is no pixel."""

    count: int
    label: int | None
    others: tuple[int, ...]
    separator: bytes
    has_header: bool
    shape: tuple[int, int, int]


def read_tables(files: Sequence[Path]) -> Found:
    """A data set of CSV files, whose names say which split each is; of one alone, the training set.

    Raises:
        InputError: If a file cannot be read, or is no table of images and labels.
    """
    tables = {split_of(path.stem) or "train" if len(files) > 1 else "train": (path, _read(path)) for path in files}
    if len(tables) < len(files) or "train" not in tables:
        told = brief(", ".join(path.name for path in files), 150)
        raise InputError(f"expected CSV files of train and test, by their names, in {files[0].parent}, got {told}")
    labelled = {split: (images, labels) for split, (_, (images, labels)) in tables.items() if labels is not None}
    if "train" not in labelled:
        raise InputError(f"expected a column of labels ({', '.join(_LABELS)}) in {tables['train'][0]}, got none")
    notes = tuple(
        f"{path} has no labels, and is left out" for split, (path, _) in tables.items() if split not in labelled
    )
    numbers, names = number_labels({split: labels for split, (_, labels) in labelled.items()}, str(files[0].parent))
    parts = {split: Part(images, numbers[split]) for split, (images, _) in labelled.items()}
    return found_of(parts, class_names=names, notes=notes)


def is_table(path: Path) -> bool:
    """Whether the first line of a CSV file is that of a table of pixels."""
    try:
        with open_regular(path) as file:
            return _columns(file.readline(_LONGEST_HEADER), path).shape[0] > 1
    except (OSError, InputError):
        return False


def _read(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Images and labels of a table; None for labels where no column has them."""
    try:
        with open_regular(path) as file:
            columns = _columns(file.readline(_LONGEST_HEADER), path)
            if not columns.has_header:
                file.seek(0)
            return _rows(file, columns, path)
    except OSError as error:
        raise InputError(f"expected a CSV file that can be read, got {path}: {error.strerror or error}") from error


def _columns(line: bytes, path: Path) -> _Columns:
    text = line.decode("utf-8-sig", "replace").rstrip("\r\n")
    separator = max(",;\t", key=text.count)
    try:
        names = [name.strip() for name in next(csv.reader([text], delimiter=separator), [])]
    except csv.Error as error:
        raise InputError(f"expected a CSV file, got {path}: {brief(error)}") from error
    has_header = not all(re.fullmatch(r"-?\d+(\.\d*)?", name) for name in names)
    label, others = (_by_name(names, path) if has_header else (0, ())) if len(names) > 1 else (None, ())
    pixels = len(names) - len(others) - (label is not None)
    for channels in (1, 3):
        side = round((pixels / channels) ** 0.5)
        if side and channels * side * side == pixels:
            return _Columns(len(names), label, others, separator.encode(), has_header, (side, side, channels))
    raise InputError(
        f"expected a column for each pixel of square images, and one for the label, in {path}, got {len(names)} columns"
        f" ({brief(', '.join(names[:3]), 60)}, ...)"
    )


def _by_name(names: Sequence[str], path: Path) -> tuple[int | None, tuple[int, ...]]:
    """The place of the label by the columns' names, and those of what is neither label nor pixel."""
    lowered = [name.lower() for name in names]
    numbers = [place for place, name in enumerate(lowered) if name in _NUMBERS]
    found = [lowered.index(name) for name in _LABELS if name in lowered]
    odd = [place for place, name in enumerate(names) if place not in numbers and not _PIXEL.fullmatch(name)]
    if not found and len(odd) > 1:
        told = brief(", ".join(names[place] for place in odd[:8]), 100)
        raise InputError(f"expected a column called {', '.join(_LABELS)} in {path}, got {told}")
    label = next(iter([*found, *odd]), None)
    return label, tuple(place for place in sorted({*numbers, *odd}) if place != label)


def _rows(file: BufferedReader, columns: _Columns, path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    images, labels, number = [], [], int(columns.has_header)
    while lines := file.readlines(_CHUNK):
        pixels = []
        for line in lines:
            number += 1
            line = line.strip(b"\r\n")
            if not line:
                continue
            label, rest = _cut(line, columns, f"line {number} of {path}")
            labels.append(label)
            pixels.append(rest)
        if pixels:
            images.append(_parse(pixels, columns, path).reshape(-1, *columns.shape))
    if not images:
        raise InputError(f"expected rows of pixels in {path}, got none")
    return np.concatenate(images), None if columns.label is None else _labels(labels)


def _cut(line: bytes, columns: _Columns, where: str) -> tuple[bytes, bytes]:
    """The label of a line, and its pixels."""
    separator = columns.separator
    if b'"' in line:
        try:
            (fields,) = csv.reader([line.decode("utf-8", "replace")], delimiter=separator.decode())
        except (csv.Error, ValueError) as error:
            raise InputError(f"expected a row of CSV in {where}, got {brief(error)}") from error
        parts = [field.replace(separator.decode(), " ").encode() for field in fields]
        count = len(parts)
    else:
        parts, count = None, line.count(separator) + 1
    if count != columns.count:
        raise InputError(f"expected {columns.count} columns in {where}, got {count}")
    left_out = {*columns.others, *([] if columns.label is None else [columns.label])}
    if parts is None and left_out == {0}:
        label, rest = line.split(separator, 1)
        return label, rest
    parts = line.split(separator) if parts is None else parts
    label = b"" if columns.label is None else parts[columns.label]
    return label, separator.join(part for place, part in enumerate(parts) if place not in left_out)


def _parse(lines: Sequence[bytes], columns: _Columns, path: Path) -> np.ndarray:
    """The bytes that lines of numbers say."""
    text = columns.separator.join(lines).translate(None, b" ")
    values = _whole_numbers(text, columns.separator)
    if values is None:
        values = np.concatenate([*_floats(lines, columns.separator, path)])
    if values.max(initial=0) > 255 or values.min(initial=0) < 0 or (values != np.floor(values)).any():
        raise InputError(f"expected pixels that are whole numbers from 0 to 255 in {path}, got others")
    return values.astype(np.uint8)


def _whole_numbers(text: bytes, separator: bytes) -> np.ndarray | None:
    """Numbers of one to three digits, all at once; None where there are others."""
    data = np.frombuffer(text, np.uint8)
    ends = np.append(np.flatnonzero(data == separator[0]), len(data))
    lengths = np.diff(ends, prepend=-1) - 1
    digits = data - np.uint8(ord("0"))  # below it, wrapped around to large ones
    if lengths.min() < 1 or lengths.max() > 3 or np.count_nonzero(digits < 10) + len(ends) - 1 != len(data):
        return None
    values = digits[ends - 1].astype(np.uint16)
    for place, factor in ((2, 10), (3, 100)):
        at = lengths >= place
        values[at] += np.uint16(factor) * digits[ends[at] - place]
    return values


def _floats(lines: Sequence[bytes], separator: bytes, path: Path) -> Iterator[np.ndarray]:
    for line in lines:
        try:
            yield np.array([float(field) for field in line.split(separator)])
        except ValueError as error:
            raise InputError(f"expected pixels that are numbers in {path}, got {brief(error)}") from error


def _labels(labels: Sequence[bytes]) -> np.ndarray:
    texts = [label.decode("utf-8", "replace").strip() for label in labels]
    whole = [re.fullmatch(r"(-?\d{1,9})(\.0*)?", text) for text in texts]
    if all(whole):
        return np.array([int(match[1]) for match in whole if match], np.int32)
    return np.array(texts)
