"""Files that are whole or absent: written beside, then renamed."""

import contextlib
import errno
import os
import shutil
import stat
import sys
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase, BufferedReader
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxae.ending import keep
from jaxae.errors import InputError

# The files that `check_writable` was asked about: an early end tells which of them are written.
_wanted: set[Path] = set()


@contextmanager
def whole_or_absent(path: Path) -> Iterator[Path]:
    """Give a temporary file to write to; when the block succeeds, what it holds is at `path`.

    A block that raises, or a process that dies in it, leaves what was there before. Through a link the file that it
    names is written, and a file that is there keeps its permissions. A pipe or a device takes the content at the end.

    Raises:
        InputError: If the file cannot be written.
    """
    with refuse_unwritable(path):
        there, target = _check_target(path), _target(path)
        renamed = there is None or not _takes_content(there)
        handle, beside = tempfile.mkstemp(path.suffix, f".{path.stem[:40]}.", target.parent if renamed else None)
        os.close(handle)
        temporary = Path(beside)
        try:
            with _named(path, temporary):
                yield temporary
            if there is not None and not renamed:
                _pour(temporary, path, there)
            else:
                _rename(temporary, target, there)
        finally:
            temporary.unlink(missing_ok=True)
    if path in _wanted:
        keep(str(path))


@contextmanager
def whole_or_absent_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path` to fill; it takes that name when the block succeeds, else it is gone.

    Raises:
        InputError: If there is something of that name, or it cannot be written.
    """
    check_new_folder(path)
    missing = [folder for folder in path.parents if not folder.exists()]
    with refuse_unwritable(path, "a folder"):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name[:40]}.") as outer:
                inner = Path(outer) / "folder"
                inner.mkdir()
                with _named(path, inner):
                    yield inner
                inner.rename(path)
        except BaseException:
            for folder in missing:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise


def partial_files(path: Path) -> list[Path]:
    """Files that `whole_or_absent` was filling in the place of `path` as its process died, or is filling now.

    The name may be a pattern, such as *.png.
    """
    return list(path.parent.glob(f".{path.stem[:40]}.{8 * '[a-z0-9_]'}{path.suffix}"))


def open_regular(path: Path) -> BufferedReader:
    """Open a file to read, and nothing else: a pipe would be waited for, a device may never end.

    Raises:
        OSError: If the file cannot be opened, or is none.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "it is a pipe or a device, no file", str(path))
    return path.open("rb")


def read_bytes(path: Path, most: int) -> bytes:
    """All that a file holds.

    Raises:
        OSError: If it cannot be read, is none, or holds more than `most` bytes.
    """
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EINVAL, f"it has more than {most} bytes", str(path))
    return content


def read_into(file: BufferedIOBase, values: UInt8[np.ndarray, " size"]) -> int:
    """Fill an array of bytes from a file, as far as that goes; the number of bytes that came."""
    filled = 0
    while filled < len(values) and (count := file.readinto(values.data[filled:])):
        filled += count
    return filled


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or absent.

    Raises:
        InputError: If it cannot be written.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file, whole or absent.

    Raises:
        InputError: If it cannot be written.
    """
    with whole_or_absent(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def refuse_unwritable(path: Path, what: str = "a file") -> Iterator[None]:
    """Say of an OSError in the block that `path` cannot be written; a pipe that nobody reads is another matter.

    Raises:
        InputError: If the block raises one.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(f"expected {what} that can be written, got {path}: {error.strerror or error}") from error


def check_writable(*paths: Path | None, inputs: Iterable[str | Path | None] = ()) -> None:
    """Refuse files to write that could not be, or would replace another: before minutes are spent on their content.

    Args:
        paths: The files; None is none.
        inputs: Files that are read, and folders of which everything is.

    Raises:
        InputError: If a path is a folder, or is not to be written to; or if it is, by whatever name, one of the inputs
            or another of the paths.
    """
    outputs = [path for path in paths if path is not None]
    read = [Path(one) for one in inputs if one is not None]
    for number, path in enumerate(outputs):
        with refuse_unwritable(path):
            _check_target(path)
            for one in read:
                if _replaces(path, one):
                    raise InputError(f"expected another file to write than those to read, got {path}, which {one} is")
            for other in outputs[:number]:
                if _are_one(path, other):
                    raise InputError(f"expected a file for each output, got {other} and {path}, which are one")
    _wanted.update(outputs)


def check_new_folder(path: Path) -> None:
    """Refuse a folder to make that could not be made.

    Raises:
        InputError: If there is something of that name, or where it is to be nothing can be written.
    """
    if os.path.lexists(path):
        raise InputError(f"expected the name of a new folder, got {path}")
    with refuse_unwritable(path, "a folder"):
        _check_folder(next((folder for folder in path.parents if folder.exists()), path.parent))


@contextmanager
def _named(path: Path, temporary: Path) -> Iterator[None]:
    """Say of a temporary file that is refused in the block the name that it is to have."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace(str(temporary), str(path))) from error


def _check_target(path: Path) -> os.stat_result | None:
    """What is at a path to write; None for nothing yet. It is refused if it could not be written."""
    if "\0" in str(path):
        raise InputError(f"expected the name of a file to write, got {str(path)!r}")
    try:
        there = path.stat()
    except FileNotFoundError:  # a link that leads nowhere yet, too
        there = None
    if there is not None:
        if stat.S_ISDIR(there.st_mode):
            raise InputError(f"expected the name of a file to write, got the folder {path}")
        if stat.S_ISBLK(there.st_mode):
            raise InputError(f"expected the name of a file to write, got the disk {path}")
        if not os.access(path, os.W_OK):
            raise InputError(f"expected a file that can be written, got {path}: it is protected")
        if _takes_content(there):
            return there
    _check_folder(_target(path).parent)
    return there


def _check_folder(folder: Path) -> None:
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"expected a folder that can be written to, got {folder}")


def _target(path: Path) -> Path:
    """The path itself, or the end of the links that it begins."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _takes_content(there: os.stat_result) -> bool:
    """Whether to write into what is there, for a rename would put a file in the place of a pipe or device.

    Nor would a file that standard output goes to hold the lines that follow.
    """
    return not stat.S_ISREG(there.st_mode) or _standard_stream(there) is not None


def _standard_stream(there: os.stat_result) -> int | None:
    """Number of the standard stream, of output or errors, that goes there."""
    for number in (1, 2):
        with contextlib.suppress(OSError):  # it may be closed
            if os.path.samestat(there, os.fstat(number)):
                return number
    return None


def _pour(temporary: Path, path: Path, there: os.stat_result) -> None:
    number = _standard_stream(there)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and number is not None:
            stream.flush()  # what was printed before comes before
    with temporary.open("rb") as source, path.open("wb") if number is None else os.fdopen(os.dup(number), "wb") as sink:
        shutil.copyfileobj(source, sink)


def _rename(temporary: Path, target: Path, there: os.stat_result | None) -> None:
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    # mkstemp makes files for the owner alone; this one is like the one before, or like any other.
    mask = os.umask(0)
    os.umask(mask)
    if there is not None:
        with contextlib.suppress(PermissionError):
            os.chown(temporary, there.st_uid, there.st_gid)
    temporary.chmod(0o666 & ~mask if there is None else stat.S_IMODE(there.st_mode))
    temporary.replace(target)


def _replaces(path: Path, read: Path) -> bool:
    """Whether to write `path` would replace a file that is read, or one in a folder that is."""
    if not path.exists() or not read.exists():
        return False
    if not read.is_dir():
        return path.samefile(read)
    return any(folder.samefile(read) for folder in Path(os.path.realpath(path)).parents)


def _are_one(path: Path, other: Path) -> bool:
    """Whether two files to write are one, or would be where capitals or accents do not tell names apart."""
    if path.exists() or other.exists():
        return path.is_file() and other.exists() and path.samefile(other)  # devices take more than one
    one, two = _target(path), _target(other)
    same = unicodedata.normalize("NFC", one.name).casefold() == unicodedata.normalize("NFC", two.name).casefold()
    return same and one.parent.samefile(two.parent)
