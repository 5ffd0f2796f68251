"""Labels of pictures that lie in no class folders: a CSV table beside them, of their names and their classes."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from jaxae.errors import InputError, brief
from jaxae.storage.files import read_bytes

_NAMES = ("file_name", "filename", "file", "image", "image_id", "id", "path", "filepath", "img", "name")
_LABELS = ("label", "labels", "class", "target", "category", "breed", "species")
_LARGEST = 1 << 28  # bytes of a table


def read_labels(tables: Sequence[Path]) -> Mapping[str, str]:
    """Classes of pictures by their names, of those tables that have a column of names and one of classes.

    Raises:
        InputError: If a table cannot be read, or a name has two classes.
    """
    found: dict[str, str] = {}
    for path in tables:
        try:
            text = read_bytes(path, _LARGEST).decode("utf-8-sig", "replace")
            rows = csv.reader(io.StringIO(text))
            header = [name.strip().lower() for name in next(rows, [])]
            places = [next((header.index(one) for one in known if one in header), None) for known in (_NAMES, _LABELS)]
            for row in rows if None not in places else ():
                if len(row) == len(header):
                    name, label = (row[place].strip() for place in places if place is not None)
                    if found.setdefault(name, label) != label:
                        raise InputError(f"expected one class of each picture in {path}, got two of {brief(name)!r}")
        except (OSError, csv.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"expected a CSV file that can be read, got {path}: {brief(reason, 200)}") from error
    return found


def label_of(path: Path, labels: Mapping[str, str]) -> str | None:
    """The class of a picture, by the end of its path, its name, or its name without the suffix."""
    whole = PurePosixPath(path.as_posix())
    ends = ("/".join(whole.parts[-count:]) for count in (3, 2, 1))
    return next((labels[name] for name in (*ends, path.stem) if name in labels), None)
