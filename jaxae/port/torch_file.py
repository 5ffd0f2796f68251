"""Files of torch.save, both containers: read as tensors only, never as code.

torch.load(weights_only=True) runs no code, but it believes the sizes that a file declares: a storage larger than its
record reads beyond it. So the pickle is first walked (`pickle_walk.py`), and what it declares is held against the file.
"""

import pickle
import re
import zipfile
from collections.abc import Mapping
from io import BufferedIOBase, BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxae.errors import InputError
from jaxae.port.pickle_walk import RefusedPickleError, declared_storages
from jaxae.storage.files import open_regular, whole_or_absent

# A pickle of tensors alone is a few megabytes; the tensors' bytes lie beside it.
_LARGEST_PICKLE = 1 << 26


def read(path: Path) -> object:
    """What torch saved, tensors on the CPU.

    Raises:
        InputError: If there is no such file, it is damaged, it would run code, or torch is not installed.
    """
    torch = import_torch(path)
    try:
        with open_regular(path) as file:
            _check_sizes(file, path.stat().st_size)
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"expected a torch file, got {path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged pickle may raise anything
        reason = error if isinstance(error, RefusedPickleError) else _reason(error)
        raise InputError(f"expected a sound torch file, got {path}: {reason}") from error


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Save by torch.save, whole or not at all."""
    torch = import_torch(path)
    try:
        with whole_or_absent(path) as temporary, temporary.open("wb") as file:
            torch.save(content, file)
    except OSError as error:
        raise InputError(f"expected {path} to be written, got an error: {error.strerror}") from error


def import_torch(path: Path) -> ModuleType:
    """Import torch for a file, or say that the file needs it."""
    try:
        import torch
    except ImportError as error:
        raise InputError(f"expected torch, which {path} needs, got none: pip install 'jaxae[torch]'") from error
    return torch


def _reason(error: Exception) -> str:
    text = str(error)
    code = re.search(r"(?:GLOBAL|global:?|function) ([\w.]*\.[\w.]+)", text)
    if isinstance(error, pickle.UnpicklingError) and code:
        remedy = "nothing was run; save model.state_dict() instead"
        return f"it holds more than tensors ({code[1]}), which would run code; {remedy}"
    line = next((line for line in text.splitlines() if line.strip()), "")
    return f"it is damaged or no torch file ({type(error).__name__}: {line[:120]})"


def _check_sizes(file: BufferedIOBase, size: int) -> None:
    if file.read(4) == b"PK\x03\x04":
        _check_zip(file, size)
        return
    file.seek(0)
    pickles = BytesIO(file.read(_LARGEST_PICKLE))
    for _ in range(3):  # magic number, protocol version, system information
        declared_storages(pickles)
    total = sum(declared_storages(pickles).values())
    if total > size:
        raise RefusedPickleError(f"it declares {total} bytes of tensors, but has {size}")


def _check_zip(file: BufferedIOBase, size: int) -> None:
    with zipfile.ZipFile(file) as archive:
        records = {info.filename: info for info in archive.infolist()}
        if len(records) < len(archive.infolist()):
            raise RefusedPickleError("it has two records of one name")
        if any(info.compress_type != zipfile.ZIP_STORED for info in records.values()):
            raise RefusedPickleError("it has compressed records, which torch does not write")
        if sum(info.file_size for info in records.values()) > size:
            raise RefusedPickleError(f"its records claim more bytes than the {size} it has")
        pickles = [name for name in records if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise RefusedPickleError(f"it has {len(pickles)} pickles of tensors")
        if records[pickles[0]].file_size > _LARGEST_PICKLE:
            raise RefusedPickleError(f"its pickle of tensors has more than {_LARGEST_PICKLE} bytes")
        folder = pickles[0].removesuffix("data.pkl")
        for key, nbytes in declared_storages(BytesIO(archive.read(pickles[0]))).items():
            record = records.get(f"{folder}data/{key}")
            if record is None or record.file_size < nbytes:
                held = record.file_size if record else 0
                raise RefusedPickleError(f"it declares {nbytes} bytes of the storage {key[:80]!r}, but has {held}")
