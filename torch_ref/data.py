"""Images and labels from IDX files or from jaxae's arrays: uint8 at rest."""

import gzip
import io
import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.lib import format as npy_format
from torch import Tensor

from .errors import InputError

SPLITS = {"train": "train", "test": "t10k"}
# gzip cannot do better than 1032 to 1: a header that promises more is a lie, found unallocated.
LARGEST_GZIP_RATIO = 1032
# What an archive may unpack to: a gigabyte, or a hundred times its size.
SMALL, LARGEST_NPZ_RATIO = 1 << 30, 100


class Split(NamedTuple):
    """Images uint8 [N, 1, 28, 28] and labels int64 [N]."""

    images: Tensor
    labels: Tensor


class Dataset(NamedTuple):
    """What is trained on and what is evaluated."""

    train: Split
    test: Split


def to_float(images: Tensor) -> Tensor:
    """float32 in [0, 1] of uint8 images, as torchvision's ToTensor gives it: x / 255.

    To be called before a move to a GPU, which multiplies by the reciprocal instead.
    """
    return images.to(torch.float32).div(255)


def load_idx(folder: str | Path) -> Dataset:
    """Read MNIST's four IDX files, gzipped or not, from a folder as the site or torchvision leave.

    Looks into the folder itself, its `raw`, and the `raw` of its one subfolder that holds the
    files (`MNIST/raw`, say). Raises InputError naming the file that is missing or damaged.
    """
    folder = Path(folder)
    try:
        there = folder.is_dir()
    except OSError as error:  # a name too long for the system
        raise InputError(f"cannot read {str(folder)[:80]}...: {error.strerror}") from error
    if not there:
        raise InputError(f"no such folder: {folder}")
    candidates = [folder, folder / "raw", *sorted(folder.glob("*/raw"))]
    found = [candidate for candidate in candidates if _idx_file(candidate, "train-images-idx3")]
    if not found:
        raise InputError(f"no train-images-idx3-ubyte[.gz] in {folder}, its raw folder or a subfolder's")
    if len(found) > 1 and found[0] != folder:
        raise InputError(f"more than one data set in {folder}: name one of {_names(found)}")
    splits = {}
    for name, prefix in SPLITS.items():
        images = _read_idx(found[0], f"{prefix}-images-idx3", dimensions=3)
        labels = _read_idx(found[0], f"{prefix}-labels-idx1", dimensions=1)
        splits[name] = _split(name, images[..., None], labels, str(found[0]))
    return Dataset(**splits)


def load_arrays(path: str | Path) -> Dataset:
    """Read the .npz that jaxae writes: {train,test}_images uint8 NHWC and {train,test}_labels.

    Raises InputError for a file that is no such archive, or unpacks to far more than its size.
    """
    names = [f"{name}_{kind}" for name in SPLITS for kind in ("images", "labels")]
    arrays = read_npz(path, names)
    return Dataset(*(_split(name, arrays[f"{name}_images"], arrays[f"{name}_labels"], path) for name in SPLITS))


def read_npz(path: str | Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Read arrays of an .npz file, those of these names or all, in their order.

    Raises InputError for a file that is no such archive, or unpacks to far more than its size.
    """
    path = Path(path)
    arrays = {}
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is no file")
        # Opened here: of a damaged archive, np.load would leave the file open.
        with path.open("rb") as file:
            # Of anything else np.load would take a pickle, and advise to run it.
            if file.read(4) != b"PK\3\4":
                raise InputError(f"{path} is no .npz archive")
            _check_sizes(file, path)
            file.seek(0)
            archive = np.load(file, allow_pickle=False)
            for name in archive.files if names is None else names:
                arrays[name] = archive[name]
    except InputError:
        raise
    except KeyError as error:
        raise InputError(f"{path}: {str(error.args[0]).rstrip('.')}") from error
    # zip, DEFLATE and the parser of headers trip over damage in as many ways as there are bytes.
    except Exception as error:
        raise InputError(f"cannot read {str(path)[:200]} as an .npz archive: {_first_line(error)}") from error
    return arrays


def _brief(array: np.ndarray) -> str:
    return f"{str(array.dtype)[:60]} {str(array.shape)[:100]}"


def _check_sizes(file: io.BufferedReader, path: Path) -> None:
    """Refuse what would take more memory than it fills: np.load reserves what a header claims."""
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > max(SMALL, LARGEST_NPZ_RATIO * path.stat().st_size):
            raise InputError(f"{path} unpacks to far more than its size")
        for member in members:
            with archive.open(member) as content:
                version = npy_format.read_magic(content)
                read_header = {1: npy_format.read_array_header_1_0, 2: npy_format.read_array_header_2_0}[version[0]]
                shape, _, dtype = read_header(content)
                if math.prod(shape) * dtype.itemsize > member.file_size:
                    raise InputError(f"{path} is too short for the shape {str(shape)[:100]} in a header")


def _idx_file(folder: Path, stem: str) -> Path | None:
    for name in (f"{stem}-ubyte", f"{stem}-ubyte.gz"):
        if (folder / name).is_file():
            return folder / name
    return None


def _read_idx(folder: Path, stem: str, dimensions: int) -> np.ndarray:
    path = _idx_file(folder, stem)
    if path is None:
        raise InputError(f"no {stem}-ubyte[.gz] in {folder}")
    gzipped = path.suffix == ".gz"
    limit = path.stat().st_size * (LARGEST_GZIP_RATIO if gzipped else 1)
    try:
        with gzip.open(path) if gzipped else path.open("rb") as file:
            return _parse_idx(file, path, dimensions, limit)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path}: {_first_line(error)}") from error


def _parse_idx(file: gzip.GzipFile | io.BufferedReader, path: Path, dimensions: int, limit: int) -> np.ndarray:
    header = file.read(4 + 4 * dimensions)
    if header[:4] != bytes((0, 0, 8, dimensions)) or len(header) < 4 + 4 * dimensions:
        raise InputError(
            f"{path} is no IDX file of unsigned bytes in {dimensions} dimensions: "
            f"it begins with {header[:4].hex(' ') or 'nothing'}"
        )
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4", offset=4))
    # No shape that NumPy cannot count, an axis of none in it or not.
    if math.prod(shape) > limit or math.prod(size or 1 for size in shape) >= 1 << 62:
        raise InputError(f"{path} is too short for the shape {shape} in its header")
    array = np.empty(shape, np.uint8)
    read = 0
    view = array.reshape(-1).data
    while read < len(view) and (count := file.readinto(view[read:])):
        read += count
    if read != array.size or file.read(1):
        came = "fewer" if read != array.size else "more"
        raise InputError(f"{path} holds {came} bytes than the shape {shape} in its header")
    return array


def _split(name: str, images: np.ndarray, labels: np.ndarray, source: str | Path) -> Split:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (28, 28, 1):
        raise InputError(f"{source}: expected {name} images of uint8 (N, 28, 28, 1), got {_brief(images)}")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise InputError(f"{source}: expected {len(images)} integer {name} labels, got {_brief(labels)}")
    if not len(images):
        raise InputError(f"{source}: the {name} set is empty")
    # One channel: NHWC and NCHW are the same bytes.
    return Split(
        torch.from_numpy(np.ascontiguousarray(images).reshape(-1, 1, 28, 28)), torch.from_numpy(labels.astype(np.int64))
    )


def _names(paths: list[Path]) -> str:
    return ", ".join(str(path) for path in paths)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
