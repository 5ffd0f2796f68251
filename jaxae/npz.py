"""Arrays in an uncompressed .npz file: whole or absent, and checked by its CRCs when read."""

import os
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxae.errors import InputError


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to `path`: beside it first, then renamed, so that it is whole or absent."""
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files for the owner alone; this one is like any other.
        mask = os.umask(0)
        os.umask(mask)
        Path(beside).chmod(0o666 & ~mask)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def read(path: Path) -> dict[str, np.ndarray]:
    """Read every array of a .npz file; no pickle is ever loaded.

    Raises:
      InputError: the file cannot be read, is damaged, or holds Python objects.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise InputError(f"{path} is no .npz file")
            return {name: arrays[name] for name in arrays.files}
    except InputError:
        raise
    # What a damaged file raises is whatever the zip, the header or the allocation trips over.
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        SyntaxError,
        MemoryError,
        NotImplementedError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise InputError(f"{path} cannot be read as a .npz file: {error}") from error
