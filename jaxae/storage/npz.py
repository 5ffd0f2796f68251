"""Arrays in an uncompressed .npz file: whole or absent, and checked by its CRCs when read."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from jaxae.errors import InputError
from jaxae.storage.files import whole_or_absent

# What a damaged file raises is whatever the zip, the header or the allocation trips over.
_DAMAGES = (OSError, EOFError, ValueError, KeyError, SyntaxError, MemoryError, RuntimeError, BadZipFile, zlib.error)


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to `path`, whole or absent."""
    with whole_or_absent(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read(path: Path) -> dict[str, np.ndarray]:
    """Read every array of a .npz file; no pickle is ever loaded.

    Raises:
        InputError: If the file cannot be read, is damaged, or holds Python objects.
    """
    try:
        # Opened here, because np.load leaves a file open whose directory is damaged.
        with path.open("rb") as file:
            arrays = np.load(file, allow_pickle=False)
            if isinstance(arrays, np.lib.npyio.NpzFile):
                return dict(arrays)
    except _DAMAGES as error:
        raise InputError(f"expected a .npz file, got {path}, which cannot be read: {error}") from error
    raise InputError(f"expected a .npz file, got {path}")
