"""What a file of torch.save declares, held against the file before torch reads it.

torch.load(weights_only=True) runs no code, but it believes the sizes that a file declares: a storage larger than its
record reads beyond it. So the pickle is first walked (`pickle_walk.py`), and what it declares is held against the file.
"""

import errno
import zipfile
from collections.abc import Mapping
from io import BufferedIOBase, BytesIO
from pathlib import Path

from .pickle_calls import RefusedPickleError, Storage
from .pickle_walk import Declared, walk

# A pickle of tensors alone is a few megabytes; the tensors' bytes lie beside it.
LARGEST_PICKLE = 1 << 26
ZIP_START = b"PK\x03\x04"


def check_declared(path: Path) -> None:
    """Refuse a file, of either container, that declares other than it holds, or does what torch does not for tensors.

    Raises:
        RefusedPickleError: If it does.
        OSError: If the file cannot be opened, or is a pipe or a device.
        Exception: If it is damaged: whatever the zip reader or the walk trips over.
    """
    check_is_file(path)
    with path.open("rb") as file:
        if file.read(4) == ZIP_START:
            _check_zip(file, path.stat().st_size)
        else:
            file.seek(0)
            declared_in_old(BytesIO(file.read(LARGEST_PICKLE)), path.stat().st_size)


def check_is_file(path: Path) -> None:
    """Raise OSError where there is a pipe or a device, which would be waited for."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "it is a pipe or a device, no file", str(path))


def declared_in_old(pickles: BytesIO, size: int, *, inert: bool = False) -> tuple[Declared, list[str], object]:
    """What a file of torch's older container declares, the keys of its storages in their order, and the system's data.

    Args:
        pickles: The beginning of the file, which is then read up to the storages.
        size: Bytes of the file.
        inert: Whether the reader makes no objects.

    Raises:
        RefusedPickleError: If it declares other than it holds.
    """
    _, _, system = [walk(pickles).whole for _ in range(3)]  # magic number, protocol version, system information
    declared = walk(pickles, inert=inert)
    total = sum(storage.nbytes for storage in declared.storages.values())
    if total > size:
        raise RefusedPickleError(f"it declares {total} bytes of tensors, but has {size}")
    keys = [*map(str, walk(pickles).items)]
    if len(keys) != len(declared.storages) or {*keys} != {*declared.storages}:
        raise RefusedPickleError("it does not hold the bytes of just the tensors that it declares")
    return declared, keys, system


def _check_zip(file: BufferedIOBase, size: int) -> None:
    with zipfile.ZipFile(file) as archive:
        records, pickled = checked_records(archive, size)
        check_storages(records, pickled, walk(BytesIO(archive.read(pickled))).storages)


def checked_records(
    archive: zipfile.ZipFile, size: int, *, programs: bool = False
) -> tuple[dict[str, zipfile.ZipInfo], str]:
    """The records of an archive of so many bytes by their names, and the name of its pickle of tensors.

    Args:
        archive: The archive.
        size: Bytes of its file.
        programs: Whether it may be TorchScript, a program beside its tensors, for a reader that leaves the program.

    Raises:
        RefusedPickleError: If torch's own reader would find others, or they are not what torch writes.
    """
    records = {info.filename: info for info in archive.infolist()}
    # torch's own reader tells neither capitals apart nor what is before the archive.
    if len({name.lower() for name in records}) < len(archive.infolist()):
        raise RefusedPickleError("it has two records of one name")
    if min((info.header_offset for info in records.values()), default=0):
        raise RefusedPickleError("its archive does not begin where the file does")
    if not programs and any("/code/" in name for name in records):
        raise RefusedPickleError("it is TorchScript, a program: port the module that torch.jit.load makes of it")
    plain = [info for name, info in records.items() if not (programs and "/code/" in name)]
    if any(info.compress_type != zipfile.ZIP_STORED for info in plain):
        raise RefusedPickleError("it has compressed records, which torch does not write")
    if sum(info.file_size for info in plain) > size:
        raise RefusedPickleError(f"its records claim more bytes than the {size} it has")
    pickles = [name for name in records if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise RefusedPickleError(f"it has {len(pickles)} pickles of tensors")
    if records[pickles[0]].file_size > LARGEST_PICKLE:
        raise RefusedPickleError(f"its pickle of tensors has more than {LARGEST_PICKLE} bytes")
    return records, pickles[0]


def storage_record(pickled: str, key: str) -> str:
    """The name of the record of a storage, beside its pickle."""
    return f"{pickled.removesuffix('data.pkl')}data/{key}"


def check_storages(records: Mapping[str, zipfile.ZipInfo], pickled: str, storages: Mapping[str, Storage]) -> None:
    """Raise RefusedPickleError unless each storage lies within its record."""
    for key, storage in storages.items():
        record = records.get(storage_record(pickled, key))
        held = record.file_size if record else 0
        if record is None or held < storage.nbytes:
            declared = f"{storage.nbytes} bytes of the storage {key[:80]!r}"
            raise RefusedPickleError(f"it declares {declared}, but has {held}")
