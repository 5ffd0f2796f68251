"""Containers of pickles: torch.save's zip and the one before it, TorchScript's, and a pickle alone."""

import zipfile
from collections.abc import Iterable
from io import BufferedReader, BytesIO
from pathlib import Path

from jaxae.port.pickled.tensors import Storages
from jaxae.port.pickled.values import values_of
from torch_ref.declared import (
    LARGEST_PICKLE,
    ZIP_START,
    check_is_file,
    check_storages,
    checked_records,
    declared_in_old,
    storage_record,
)
from torch_ref.pickle_calls import Made, RefusedPickleError
from torch_ref.pickle_walk import walk

_OLD = 0x1950A86A20F9469CFC6C  # the number that torch's older container begins with


def read_pickled(path: Path, allow: Iterable[str] = ()) -> object:
    """What a file holds, its tensors as NumPy arrays, its objects as `Inert`.

    Args:
        path: Path of the file.
        allow: Names of classes, functions or modules whose objects may be inert, beside those that are known.

    Raises:
        RefusedPickleError: If it declares other than it holds, or objects that are not known.
        OSError: If the file cannot be opened, or is a pipe or a device.
        Exception: If it is damaged: whatever the readers trip over.
    """
    check_is_file(path)
    with path.open("rb") as file:
        start, size = file.read(64), path.stat().st_size
        file.seek(0)
        if start.startswith(ZIP_START):
            return _zip(file, size, allow)
        if _is_old(start):
            return _old(file, size, allow)
        stream = BytesIO(file.read())
        declared = walk(stream, inert=True)
        if declared.storages:
            raise RefusedPickleError("it is a pickle of tensors without their bytes")
        return values_of(declared.whole, Storages(declared.inner), allow)


def _zip(file: BufferedReader, size: int, allow: Iterable[str]) -> object:
    with zipfile.ZipFile(file) as archive:
        records, pickled = checked_records(archive, size, programs=True)
        declared = walk(BytesIO(archive.read(pickled)), inert=True)
        check_storages(records, pickled, declared.storages)
        order = f"{pickled.removesuffix('data.pkl')}byteorder"
        big = order in records and archive.read(order) == b"big"
        content = {key: archive.read(storage_record(pickled, key)) for key in declared.storages}
    return values_of(declared.whole, Storages(content | declared.inner, big=big), allow)


def _is_old(start: bytes) -> bool:
    try:
        return walk(BytesIO(start)).whole == _OLD
    except Exception:  # of a pickle that is longer
        return False


def _old(file: BufferedReader, size: int, allow: Iterable[str]) -> object:
    pickles = BytesIO(file.read(LARGEST_PICKLE))
    declared, keys, system = declared_in_old(pickles, size, inert=True)
    file.seek(pickles.tell())
    content: dict[str, bytes] = {}
    for key in keys:
        storage = declared.storages[key]
        number = int.from_bytes(file.read(8), "little")
        content[key] = file.read(storage.nbytes)
        if number * storage.item != storage.nbytes or len(content[key]) != storage.nbytes:
            raise RefusedPickleError(f"it does not hold the {storage.nbytes} bytes of the storage {key[:80]!r}")
    little = dict(zip(system.parts, system.values, strict=False)) if isinstance(system, Made) else {}
    if little.get("little_endian") is not True:
        raise RefusedPickleError("it was written on a big-endian machine")
    return values_of(declared.whole, Storages(content | declared.inner), allow)
