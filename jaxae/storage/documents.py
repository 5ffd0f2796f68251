"""JSON documents: read within bounds, and none but what JSON has."""

import json
import math
from pathlib import Path
from typing import Any

from jaxae.errors import InputError
from jaxae.storage.files import read_bytes

# What JSON has.
JSONValue = Any

_LARGEST = 1 << 26


def read(path: Path) -> JSONValue:
    """The document in a file.

    Raises:
        InputError: If it cannot be read, is no file, has more than 64 MiB, or `parse` refuses it.
    """
    try:
        return parse(read_bytes(path, _LARGEST))
    except OSError as error:
        raise InputError(f"expected a JSON file, got {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"expected sound JSON, got {path}: {' '.join(str(error).split())[:200]}") from error


def parse(text: str | bytes) -> JSONValue:
    """The value of a document.

    Raises:
        ValueError: If it is no JSON, has a number that no float holds or a name twice in one object, or nests its
            values beyond Python's recursion.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_twins, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("its values nest beyond Python's recursion") from None


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"it names {name[:80]!r} twice")
        found[name] = value
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"it has {name}, which JSON does not")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it has the number {text[:80]}, which no float holds")
    return number
