"""Data sets of 28x28 grey images: load one by name, save one as arrays."""

import dataclasses
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from jaxae.data import idx, tfds
from jaxae.data.cache import Arrays, cached
from jaxae.data.digits import digits_arrays
from jaxae.data.mnist import mnist_files
from jaxae.data.pixels import check_images, check_labels
from jaxae.errors import InputError
from jaxae.storage import npz

_IMAGE_SHAPE = (28, 28, 1)

# The sets that come as IDX files too, and how many classes their labels count. EMNIST numbers its letters from 1: 27
# classes hold them, as in torchvision; TensorFlow Datasets declares 37.
_NUM_CLASSES = {
    "mnist": 10,
    "fashion_mnist": 10,
    "kmnist": 10,
    "emnist/balanced": 47,
    "emnist/byclass": 62,
    "emnist/bymerge": 47,
    "emnist/digits": 10,
    "emnist/letters": 27,
    "emnist/mnist": 10,
}


class Split(NamedTuple):
    """Images, one byte a pixel (0 black, 255 white), and the label of each."""

    images: UInt8[np.ndarray, "batch 28 28 1"]
    labels: Int32[np.ndarray, " batch"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named data set: its train and test split, and how many classes the labels count."""

    name: str
    train: Split
    test: Split
    num_classes: int


def load(name: str = "digits", data_dir: str | Path | None = None, *, original_order: bool = False) -> Dataset:
    """Load a data set of 28x28 grey images.

    Args:
        name: Name of the set: "mnist", which comes with the package; "digits", scikit-learn's 1,797 handwritten
            digits, bicubically enlarged from 8x8, split 1437/360 by stratified sampling with seed 0; "fashion_mnist",
            "kmnist", "emnist/balanced" and its siblings, or another image classification set of that shape in
            TensorFlow Datasets; or the path of an .npz file that `save_arrays` wrote.
        data_dir: Folder with the set's IDX files, gzipped or not, in it or where torchvision puts them below it; or a
            TensorFlow Datasets folder. It is never written to. Left out, the package's MNIST or TensorFlow Datasets'
            own folder is used, and the set prepared there if need be.
        original_order: Whether examples that TensorFlow Datasets keeps in the order of a hash are put into the order
            of the set's authors. IDX files have it; "digits" and .npz files are left as they are.

    Raises:
        InputError: If the name is unknown, the data cannot be had or read, the images are of another size, a label is
            outside the classes, or a split is empty.
    """
    if name.endswith(".npz"):
        return _dataset(Path(name).stem, npz.read(Path(name).expanduser()), source=name)
    if name == "digits":
        return cached("digits-bicubic", digits_arrays, lambda arrays: _dataset(name, arrays))
    if name == "mnist" and data_dir is None:
        return _dataset(name, _read_idx(name, mnist_files()))
    folder = None if data_dir is None else Path(data_dir).expanduser()
    if folder is not None and not (folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)):
        raise InputError(f"expected a data_dir that can be read, got {folder}")
    if name in _NUM_CLASSES and folder is not None and (files := idx.find_files(name, folder)):
        return _dataset(name, _read_idx(name, files), source=str(files.train_images.parent))
    return _load_tfds(name, folder, original_order)


def save_arrays(dataset: Dataset, path: str | Path) -> None:
    """Write a data set as an .npz file, whole or absent, for `load` and for anyone's NumPy.

    Its arrays are train_images and test_images (uint8 [N, 28, 28, 1]), train_labels and test_labels (int32 [N]), and
    num_classes.

    Raises:
        InputError: If the name does not end in .npz, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise InputError(f"expected a file name ending in .npz, got {path.name}")
    try:
        npz.write(path, _arrays(dataset.train, dataset.test, dataset.num_classes))
    except OSError as error:
        raise InputError(f"expected a file that can be written, got {path}: {error}") from error


def _arrays(train: Split, test: Split, num_classes: int) -> Arrays:
    return {
        "train_images": train.images,
        "train_labels": train.labels,
        "test_images": test.images,
        "test_labels": test.labels,
        "num_classes": np.asarray(num_classes, np.int32),
    }


def _read_idx(name: str, files: idx.Files) -> Arrays:
    splits = [
        Split(idx.read(images, 3)[..., None], idx.read(labels, 1).astype(np.int32))
        for images, labels in (files[:2], files[2:])
    ]
    return _arrays(*splits, num_classes=_NUM_CLASSES[name])


def _load_tfds(name: str, folder: Path | None, original_order: bool) -> Dataset:
    unversioned = name.partition(":")[0]
    in_idx = unversioned in _NUM_CLASSES
    prepared = tfds.find_prepared(name, folder or tfds.default_folder())
    if prepared is None:
        prepared = tfds.prepare(
            name,
            known=["digits", *_NUM_CLASSES],
            image_shape=_IMAGE_SHAPE,
            archives=folder,
            files=[f"{path}.gz" for path in idx.file_names(unversioned)] if in_idx else (),
        )
    if original_order and not in_idx:
        raise InputError(f"expected an IDX set for its original order, got {name}, whose order is not known")

    def build() -> Arrays:
        arrays = tfds.read(prepared, name, _IMAGE_SHAPE)
        if in_idx:
            arrays["num_classes"] = np.asarray(_NUM_CLASSES[unversioned], np.int32)
        return arrays

    # Another set prepared in the same place has another dataset_info.json.
    stamp = hashlib.sha256(str(prepared.resolve()).encode())
    stamp.update((prepared / "dataset_info.json").read_bytes())
    key = f"{unversioned.replace('/', '-')}-{prepared.name}-{stamp.hexdigest()[:16]}"
    dataset = cached(key, build, lambda arrays: _dataset(name, arrays, source=str(prepared)))
    if not original_order:
        return dataset
    train, test = (
        Split(*(array[tfds.original_positions(kind, len(array))] for array in split))
        for kind, split in (("train", dataset.train), ("test", dataset.test))
    )
    return dataclasses.replace(dataset, train=train, test=test)


def _dataset(name: str, arrays: Arrays, source: str | None = None) -> Dataset:
    """Check arrays that `_arrays` named and make them a data set; num_classes may be missing."""
    wanted = [f"{split}_{field}" for split in ("train", "test") for field in Split._fields]
    if missing := [array for array in wanted if array not in arrays]:
        raise InputError(f"expected the arrays {', '.join(wanted)} in {source or name}, got no {', '.join(missing)}")
    declared = arrays.get("num_classes")
    if declared is not None and (declared.shape != () or declared.dtype.kind not in "iu"):
        raise InputError(f"expected num_classes to be an integer in {source or name}, got another array")
    # Labels become int32 below: none may be beyond it, whatever a file declares.
    most = int(np.iinfo(np.int32).max)
    num_classes = most if declared is None else min(int(declared), most)
    splits = []
    for split in ("train", "test"):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        try:
            check_images(images, _IMAGE_SHAPE)
            if images.dtype != np.uint8:
                raise InputError(f"expected uint8 images, got {images.dtype}")
            check_labels(labels, num_classes, num_images=len(images))
        except InputError as error:
            raise InputError(f"{error} in the {split} split of {source or name}") from error
        splits.append(Split(images, labels.astype(np.int32)))
    if declared is None:
        num_classes = 1 + max(int(split.labels.max()) for split in splits)
    return Dataset(name, *splits, num_classes=num_classes)
