"""A benchmark's document on disk: JSON, whole or absent."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxae.errors import InputError
from jaxae.storage.files import write_text

_NEEDED = {"model", "contender", "label", "batch_size", "models", "step_ms"}


def to_json(document: Mapping[str, Any]) -> str:
    """The document as one line of JSON, without the NaN and infinity that JSON lacks."""
    return json.dumps(document, allow_nan=False)


def save(document: Mapping[str, Any], path: Path) -> None:
    """Write the document, whole or not at all."""
    write_text(path, to_json(document) + "\n")


def read(path: Path) -> dict[str, Any]:
    """A document that `save` wrote.

    Raises:
        InputError: If there is none, or it is something else.
    """
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"expected a benchmark's JSON in {path}, got {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"expected JSON in {path}, got {error}") from None
    rows = document.get("rows") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and row.keys() >= _NEEDED for row in rows
    ):
        raise InputError(f"expected a benchmark's rows in {path}, got other JSON")
    return document


def check_writable(path: Path) -> None:
    """Raise InputError unless a file can be put there: before minutes are spent on its content."""
    if path.is_dir():
        raise InputError(f"expected the name of a file to write, got the folder {path}")
    parent = path.parent
    probe = parent / f".{path.name}.probe"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"expected a folder that can be written, got {parent}: {error.strerror}"
        ) from None
