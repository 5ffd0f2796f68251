"""Files of torch.save, both containers: read as tensors only, never as code.

torch.load(weights_only=True) runs no code, but it believes the sizes that a file declares: a storage larger than its
record reads beyond it. So the pickle is first walked with inert stand-ins for everything it names, and the storages
it declares are held against the file.
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
from jaxae.storage.files import whole_or_absent

# Kinds of storages by the bytes of an item.
_KINDS = {
    16: "ComplexDouble",
    8: "Double Long ComplexFloat",
    4: "Float Int QInt32",
    2: "Half BFloat16 Short",
    1: "Char Byte Bool QUInt8 QInt8 QUInt4x2 QUInt2x4 Untyped",
}
_ITEM_SIZES = {f"{kind}Storage": size for size, kinds in _KINDS.items() for kind in kinds.split()}


class _DamagedError(Exception):
    """Why a file is refused, in a clause about it."""


def read(path: Path) -> object:
    """What torch saved, tensors on the CPU.

    Raises:
        InputError: If there is no such file, it is damaged, it would run code, or torch is not installed.
    """
    torch = import_torch(path)
    try:
        with path.open("rb") as file:
            _check_sizes(file, path.stat().st_size)
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"expected a torch file, got {path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged pickle may raise anything
        reason = error if isinstance(error, _DamagedError) else _reason(error)
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


class _Inert:
    """Stands for whatever a pickle names: takes any call and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __call__(self, *_: Any, **__: Any) -> "_Inert":
        return _Inert()

    # What the unpickler looks up in an object that it builds.
    __setitem__ = __setstate__ = append = extend = add = __call__


# The Python unpickler, for the C one reserves memory for any memo index that a file names.
class _Walker(pickle._Unpickler):  # pyright: ignore[reportAttributeAccessIssue]
    """Walks a pickle without importing anything and notes the storages that it declares."""

    def __init__(self, file: BufferedIOBase):
        super().__init__(file, encoding="utf-8")
        self.storages: dict[Any, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        return type(name, (_Inert,), {"__module__": module})

    def get_extension(self, code: int) -> None:
        raise _DamagedError(f"it names the pickle extension {code}")

    def persistent_load(self, pid: Any) -> _Inert:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            return _Inert()
        kind, key, numel = getattr(pid[1], "__name__", "?"), pid[2], pid[4]
        if kind not in _ITEM_SIZES:
            raise _DamagedError(f"it has a storage of {kind}, which is not ported")
        if not isinstance(key, str) or not isinstance(numel, int) or numel < 0:
            raise _DamagedError("it declares a storage without a size")
        nbytes = numel * _ITEM_SIZES[kind]
        self.storages[key] = max(nbytes, self.storages.get(key, 0))
        return _Inert()


def _walk(file: BufferedIOBase) -> dict[Any, int]:
    walker = _Walker(file)
    walker.load()
    return walker.storages


def _check_sizes(file: BufferedIOBase, size: int) -> None:
    if file.read(4) == b"PK\x03\x04":
        _check_zip(file, size)
        return
    file.seek(0)
    for _ in range(3):  # magic number, protocol version, system information
        _walk(file)
    total = sum(_walk(file).values())
    if total > size:
        raise _DamagedError(f"it declares {total} bytes of tensors, but has {size}")


def _check_zip(file: BufferedIOBase, size: int) -> None:
    with zipfile.ZipFile(file) as archive:
        records = {info.filename: info for info in archive.infolist()}
        if len(records) < len(archive.infolist()):
            raise _DamagedError("it has two records of one name")
        if any(info.compress_type != zipfile.ZIP_STORED for info in records.values()):
            raise _DamagedError("it has compressed records, which torch does not write")
        if sum(info.file_size for info in records.values()) > size:
            raise _DamagedError(f"its records claim more bytes than the {size} it has")
        pickles = [name for name in records if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise _DamagedError(f"it has {len(pickles)} pickles of tensors")
        folder = pickles[0].removesuffix("data.pkl")
        for key, nbytes in _walk(BytesIO(archive.read(pickles[0]))).items():
            record = records.get(f"{folder}data/{key}")
            if record is None or record.file_size < nbytes:
                held = record.file_size if record else 0
                raise _DamagedError(f"it declares {nbytes} bytes of the storage {key!r}, but has {held}")
