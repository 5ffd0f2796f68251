"""Images and labels from IDX files or from jaxae's arrays: uint8 at rest."""

import gzip
import io
import math
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .errors import InputError

SPLITS = {"train": "train", "test": "t10k"}
# gzip cannot do better than 1032 to 1: a header that promises more is a lie, found unallocated.
LARGEST_GZIP_RATIO = 1032


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
    if not folder.is_dir():
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

    Raises InputError for a file that is no such archive.
    """
    path = Path(path)
    arrays = {}
    try:
        # Opened here: of a damaged archive, np.load would leave the file open.
        with path.open("rb") as file:
            # Of anything else np.load would take a pickle, and advise to run it.
            if file.read(4) != b"PK\3\4":
                raise InputError(f"{path} is no .npz archive")
            file.seek(0)
            archive = np.load(file, allow_pickle=False)
            for name in SPLITS:
                for kind in ("images", "labels"):
                    arrays[f"{name}_{kind}"] = archive[f"{name}_{kind}"]
    except InputError:
        raise
    except KeyError as error:
        raise InputError(f"{path}: {str(error.args[0]).rstrip('.')}") from error
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"cannot read {path} as an .npz archive: {_first_line(error)}") from error
    return Dataset(*(_split(name, arrays[f"{name}_images"], arrays[f"{name}_labels"], path) for name in SPLITS))


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
    if math.prod(shape) > limit:
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
        raise InputError(f"{source}: expected {name} images of uint8 (N, 28, 28, 1), got {images.dtype} {images.shape}")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise InputError(f"{source}: expected {len(images)} integer {name} labels, got {labels.dtype} {labels.shape}")
    if not len(images):
        raise InputError(f"{source}: the {name} set is empty")
    # One channel: NHWC and NCHW are the same bytes.
    return Split(
        torch.from_numpy(np.ascontiguousarray(images).reshape(-1, 1, 28, 28)), torch.from_numpy(labels.astype(np.int64))
    )


def _names(paths: list[Path]) -> str:
    return ", ".join(str(path) for path in paths)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
