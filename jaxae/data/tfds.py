"""Data sets of TensorFlow Datasets: found, prepared once, and read without TensorFlow."""

import contextlib
import difflib
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Int64

from jaxae.bounds import expanded
from jaxae.data.unknown import unknown
from jaxae.errors import InputError

_NAME = re.compile(r"(?P<path>\w+(/\w[\w.-]*)?)(:(?P<version>\d+\.\d+\.\d+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_BATCH = 1024


def default_folder() -> Path:
    """Name TensorFlow Datasets' own folder: $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return expanded(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def find_prepared(name: str, folder: Path) -> Path | None:
    """Find the prepared set `name` (or `name:version`, else its newest version) below `folder`."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    versions = [
        path
        for path in (folder / match["path"]).glob(match["version"] or "*.*.*")
        if _VERSION.fullmatch(path.name) and (path / "dataset_info.json").is_file()
    ]
    return max(versions, key=lambda path: [int(part) for part in path.name.split(".")], default=None)


def prepare(
    name: str,
    *,
    known: Iterable[str],
    image_shape: tuple[int, ...] | None = None,
    archives: Path | None = None,
    files: Sequence[str] = (),
) -> Path:
    """Prepare the set `name` in TensorFlow Datasets' folder, and name the folder it is in.

    Only this imports TensorFlow. The set's archives are taken from the folder `archives`, or where that is None,
    downloaded. `known` are names to suggest beside those of TensorFlow Datasets; `files` are what the user is asked
    for in place of the archives.

    Raises:
        InputError: If the name is unknown or ambiguous, its images are of another shape, archives are missing and
            cannot be downloaded, or TensorFlow is not installed.
    """
    tensorflow_datasets = _import(name, known)
    family = re.split("[/:]", name)[0]
    listed = tensorflow_datasets.list_builders(with_community_datasets=False)
    if _NAME.fullmatch(name) is None or family not in listed:
        raise InputError(unknown(name, [*known, *listed]))
    builder = _builder(tensorflow_datasets, name)
    check_features(name, builder.info.features, image_shape)

    wanted = sorted({info.filename for info in builder.url_infos.values()})
    advice = _advice(files or wanted)
    if archives is not None:
        if not all((archives / file).is_file() for file in wanted):
            raise InputError(f"expected the archives of {name} in {archives}, got none: {advice}")
    elif unreachable := _unreachable(builder.url_infos):
        raise InputError(f"expected {name} prepared, or {unreachable} to be reached, got neither: {advice}")
    try:
        import tensorflow
    except ImportError as error:
        raise InputError(
            f"expected TensorFlow to prepare {name}, got {error}: pip install 'jaxae[tfds]', or {advice}"
        ) from error
    # TensorFlow only writes files here: it must not take the accelerator's memory from JAX. Where it runs already,
    # its caller has decided that.
    with contextlib.suppress(RuntimeError):
        tensorflow.config.set_visible_devices([], "GPU")
    config = tensorflow_datasets.download.DownloadConfig(
        try_download_gcs=False, manual_dir=None if archives is None else str(archives)
    )
    try:
        builder.download_and_prepare(download_config=config, file_format="array_record")
    # Downloads, archives and disks fail in as many ways as there are libraries below.
    except Exception as error:
        raise InputError(f"expected to prepare {name}, got {_first_line(error)}: {advice}") from error
    return Path(builder.data_dir)


def read(prepared: Path, name: str, image_shape: tuple[int, ...] | None = None) -> dict[str, np.ndarray]:
    """Read and decode a prepared set, in the order it is stored in (that of a hash).

    Returns images uint8 and labels int32 of train and test, and num_classes.

    Raises:
        InputError: If the set lacks a train or test split, its images are of another shape, its files are damaged, or
            TensorFlow Datasets is not installed.
    """
    tensorflow_datasets = _import(name, ())
    try:
        builder = tensorflow_datasets.builder_from_directory(prepared)
        features, splits = builder.info.features, builder.info.splits
    except Exception as error:
        raise InputError(f"expected a prepared set that can be read, got {prepared}: {_first_line(error)}") from error
    image_shape = check_features(name, features, image_shape)
    arrays = {"num_classes": np.asarray(features["label"].num_classes, np.int32)}
    for split in ("train", "test"):
        if split not in splits:
            raise InputError(f"expected a {split} split of {name}, got {', '.join(splits) or 'none'}")
        count = splits[split].num_examples
        images = np.empty((count, *image_shape), np.uint8)
        labels = np.empty(count, np.int32)
        read_count = 0
        try:
            for example in _examples(tensorflow_datasets, builder, split):
                images[read_count], labels[read_count] = example["image"], example["label"]
                read_count += 1
        except Exception as error:
            raise InputError(
                f"expected a prepared set that can be read, got {prepared}: {_first_line(error)}"
            ) from error
        if read_count != count:
            raise InputError(f"expected {count} {split} examples in {prepared}, got {read_count}")
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    return arrays


def original_positions(split: str, count: int) -> Int64[np.ndarray, " count"]:
    """Compute where each original example is stored: original = stored[original_positions(...)].

    TensorFlow Datasets stores examples by the MD5 of their key, salted with the split's name, and MNIST and its
    relatives are keyed by the running number (tensorflow_datasets/core/hashing.py).
    """
    salted = hashlib.md5(split.encode(), usedforsecurity=False)
    digests = []
    for key in range(count):
        digest = salted.copy()
        digest.update(str(key).encode())
        digests.append(digest.digest())
    stored = sorted(range(count), key=digests.__getitem__)
    positions = np.empty(count, np.int64)
    positions[stored] = np.arange(count)
    return positions


def check_features(name: str, features: object, image_shape: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """The shape of a set's images; refused where examples are not a uint8 image of one shape and a class label.

    Args:
        name: Name of the set.
        features: What TensorFlow Datasets tells of its examples.
        image_shape: Shape that the images must have; by default any one, of one or three channels.

    Raises:
        InputError: If a feature is missing or of another shape or type.
    """
    parts: dict[str, Any] = dict(getattr(features, "items", dict)())
    if not (hasattr(parts.get("image"), "shape") and hasattr(parts.get("label"), "num_classes")):
        has = ", ".join(parts) or "no named parts"
        raise InputError(f"expected an image classification set (image, label), got {name}, which has {has}")
    shape, dtype = parts["image"].shape, np.dtype(parts["image"].np_dtype)
    fits = shape == image_shape if image_shape else len(shape) == 3 and None not in shape and shape[2] in (1, 3)
    if not fits or dtype != np.uint8:
        wanted = "x".join(map(str, image_shape)) if image_shape else "one size, grey or in colours"
        came = "x".join(map(str, shape))
        raise InputError(f"expected uint8 images of {wanted}, got {name}, which has {dtype} images of {came}")
    return shape


def _import(name: str, known: Iterable[str]) -> ModuleType:
    try:
        import tensorflow_datasets
    except ImportError as error:
        known = tuple(known)
        if known and name not in known:
            raise InputError(unknown(name, known)) from error
        raise InputError(
            f"expected the files of {name}, got none: give the folder of its IDX files as data_dir (--data-dir); or pip"
            f" install 'jaxae[tfds]', to read what TensorFlow Datasets prepares ({error}); 'digits' needs neither"
        ) from error
    return tensorflow_datasets


def _builder(tensorflow_datasets: ModuleType, name: str) -> Any:
    family = re.split("[/:]", name)[0]
    configs = [config.name for config in tensorflow_datasets.builder_cls(family).BUILDER_CONFIGS]
    names = [f"{family}/{config}" for config in configs]
    unversioned = name.partition(":")[0]
    if names and unversioned not in names:
        close = difflib.get_close_matches(unversioned, names, n=1)
        hint = f"did you mean {close[0]}?" if "/" in name and close else f"it has {', '.join(names)}"
        raise InputError(f"expected one of the data sets of {family}, got {name!r}: {hint}")
    try:
        return tensorflow_datasets.builder(name, data_dir=default_folder())
    except Exception as error:
        raise InputError(f"expected the data set {name}, got {_first_line(error)}") from error


def _advice(files: Sequence[str]) -> str:
    listed = ", ".join(files[:6]) + (f" and {len(files) - 6} more" if len(files) > 6 else "")
    return f"put {listed} into a folder and give it as data_dir; 'digits' needs no files"


def _unreachable(urls: Iterable[str]) -> str | None:
    # Asked first, because TensorFlow Datasets tries for minutes before it gives up.
    for site in sorted({"{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(url)) for url in urls}):
        try:
            with urllib.request.urlopen(urllib.request.Request(site, method="HEAD"), timeout=5):
                pass
        except (urllib.error.HTTPError, http.client.HTTPException):
            continue  # an answer, if not a welcome
        except OSError:
            return urllib.parse.urlsplit(site).netloc
    return None


def _examples(tensorflow_datasets: ModuleType, builder: Any, split: str) -> Iterator[Any]:
    try:
        source = builder.as_data_source(split=split)
    except NotImplementedError:
        # Prepared by others as TFRecords, which only TensorFlow reads; in their stored order.
        order = tensorflow_datasets.ReadConfig(interleave_cycle_length=1)
        stored = builder.as_dataset(split=split, read_config=order, shuffle_files=False)
        yield from tensorflow_datasets.as_numpy(stored)
        return
    for start in range(0, len(source), _BATCH):
        yield from source.__getitems__(range(start, min(start + _BATCH, len(source))))


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
