"""What a file or a folder is, told by looking at it."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from jaxae.data.formats import arrays, cifar, csv_table, hugging_face, idx_folder, picture_folder, records, svhn
from jaxae.data.reading import Found, Source
from jaxae.data.unknown import SUPPORTED
from jaxae.errors import InputError, brief

_KNOWN = {".npz", ".npy", ".csv", ".mat", *hugging_face.SUFFIXES}
# What a path ends in that is no name of a set.
SUFFIXES = {*_KNOWN, *picture_folder.SUFFIXES}
# Beyond it a folder is a disk rather than a data set.
_MOST_FILES = 5_000_000


def look(path: Path) -> Source:
    """What a path is, and how it is read.

    Raises:
        InputError: If it cannot be read, or is none of what is supported.
    """
    try:
        if path.is_dir():
            return _folder(path)
        return _file(path)
    except OSError as error:
        raise InputError(f"expected a data set that can be read, got {path}: {error.strerror or error}") from error


def _file(path: Path) -> Source:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _source("arrays", path, [path], lambda: arrays.read_npz(path))
    if suffix == ".npy":
        return _npy(path, sorted(path.parent.glob("*.npy")))
    if suffix == ".csv":
        pair = _with_twin(path)
        return _source("CSV", path, pair, lambda: csv_table.read_tables(pair), slow=True)
    if suffix == ".mat":
        pair = _with_twin(path)
        return _source("SVHN", path, pair, lambda: svhn.read_mats(pair))
    if suffix in hugging_face.SUFFIXES:
        return Source("Hugging Face", path, (path,), partial(hugging_face.read_tables, path.parent, [path]), slow=True)
    if idx_folder.is_idx(path):
        near = [one for one in _near(path) if idx_folder.is_idx(one)]
        return _idx(path, idx_folder.beside(path, near))
    if (batches := cifar.find(sorted(path.parent.iterdir()))) and path in batches[1]:
        return _cifar(path, *batches)
    if suffix in picture_folder.SUFFIXES:
        raise InputError(f"expected a folder of pictures, got the picture {path}")
    raise InputError(f"expected a data set ({SUPPORTED}), got {path}")


def _folder(folder: Path) -> Source:
    if records.is_records(folder):
        return _source("records", folder, sorted(folder.iterdir()), lambda: records.read_records(folder))
    files = []
    for path in picture_folder.walk(folder):
        files.append(path)
        if len(files) > _MOST_FILES:
            raise InputError(f"expected at most {_MOST_FILES} files of a data set, got more in {folder}")
    of: dict[str, list[Path]] = {}
    for path in files:
        of.setdefault(path.suffix.lower(), []).append(path)
    if batches := cifar.find(files):
        return _cifar(folder, *batches)
    others = [path for path in files if path.suffix.lower() not in SUFFIXES]
    if idx_files := [path for path in others if idx_folder.is_idx(path)]:
        return _idx(folder, idx_files)
    if mats := of.get(".mat"):
        return _source("SVHN", folder, mats, lambda: svhn.read_mats(mats))
    if tables := [path for suffix in hugging_face.SUFFIXES for path in of.get(suffix, ())]:
        read = partial(hugging_face.read_tables, folder, tables)
        return Source("Hugging Face", folder, tuple(tables), read, slow=True)
    if npys := of.get(".npy"):
        return _npy(folder, npys)
    csvs = _tables_of(of.get(".csv", []))
    pictures = [path for path in files if path.suffix.lower() in picture_folder.SUFFIXES]
    if pictures and not any(map(csv_table.is_table, csvs)):
        tables = of.get(".csv", [])
        read = partial(picture_folder.read_folder, folder, pictures, tables)
        return Source("pictures", folder, (*pictures, *tables), read, slow=True)
    if csvs:
        return _source("CSV", folder, csvs, lambda: csv_table.read_tables(csvs), slow=True)
    if len(npzs := of.get(".npz", [])) == 1:
        return _source("arrays", folder, npzs, lambda: arrays.read_npz(npzs[0]))
    if (folder / "dataset_info.json").is_file():
        raise InputError(
            "expected a set of TensorFlow Datasets by its name, with the folder that it is prepared in as data_dir, got"
            f" {folder}"
        )
    told = brief(", ".join(path.name for path in files[:4]), 100) or "no files"
    raise InputError(f"expected a data set in {folder} ({SUPPORTED}), got {told}")


def _source(kind: str, path: Path, files: Sequence[Path], read: Callable[[], Found], *, slow: bool = False) -> Source:
    """A source whose reader asks nothing."""
    return Source(kind, path, tuple(files), lambda reading, scratch: read(), slow)


def _npy(path: Path, near: Sequence[Path]) -> Source:
    """The .npy files of images and labels among these, or the one that was named."""
    files = {one.stem: one for one in near if arrays.role_of(one.stem) or one == path}
    return _source("arrays", path, [*files.values()], lambda: arrays.read_npy(files, str(path)))


def _tables_of(files: Sequence[Path]) -> Sequence[Path]:
    """The CSV files of a folder that say which split they are, or its only one."""
    return files if len(files) == 1 else [path for path in files if arrays.split_of(path.stem)]


def _with_twin(path: Path) -> list[Path]:
    """A file of a training set, and that of its test set where it lies beside it under such a name."""
    twin = path.with_name(path.name.replace("train", "test"))
    return [path, twin] if arrays.split_of(path.stem) == "train" and twin != path and twin.is_file() else [path]


def _near(path: Path) -> list[Path]:
    """Files beside a file; where it is alone in its folder, in the folders beside that."""
    beside = [one for one in path.parent.iterdir() if one.is_file()]
    return beside if len(beside) > 1 else [one for one in path.parent.parent.glob("*/*") if one.is_file()]


def _idx(path: Path, files: Sequence[Path]) -> Source:
    roles = idx_folder.one_set(files, str(path))
    return _source("IDX", path, tuple(roles.values()), lambda: idx_folder.read_files(roles))


def _cifar(path: Path, kind: str, files: Sequence[Path]) -> Source:
    return _source(kind, path, files, lambda: cifar.read_batches(kind, files))
