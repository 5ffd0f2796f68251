"""Data sets of images: load one by name, by path or of arrays; save one as arrays."""

import dataclasses
import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8
from numpy.typing import ArrayLike

from jaxae.bounds import Count, check, expanded, told
from jaxae.config import Fit, Reading
from jaxae.data import idx, tfds
from jaxae.data.cache import Arrays, cached
from jaxae.data.digits import digits_arrays
from jaxae.data.formats.arrays import in_memory
from jaxae.data.formats.hugging_face import HUB, downloaded
from jaxae.data.formats.look import SUFFIXES, look
from jaxae.data.mnist import FOLDER, mnist_files
from jaxae.data.own import finished, read_source, turned
from jaxae.data.pixels import as_array, check_images, check_labels
from jaxae.data.reading import Found, Part
from jaxae.data.unknown import is_there, unknown
from jaxae.errors import InputError

# Names, paths, or arrays: by name, a pair of images and labels, or two pairs.
Given = str | Path | Mapping[str, ArrayLike] | tuple[object, ...]

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
    """A named data set: its train and test split, and how many classes the labels count.

    Images may also be of another shape, and floats in [0, 1]; labels become int32.

    Attributes:
        name: Name of the set.
        train: Images and labels to train on.
        test: Images and labels to test on.
        num_classes: Number of classes.
        class_names: Names of the classes by their labels; none where they have no other than their numbers.
        notes: What was decided as the data were read, a clause each: splits, sizes, what was left out.

    Raises:
        InputError: If images are of another dtype, out of range or of two shapes, labels are none of the classes or
            not one for each image, a split is empty, or there are other numbers of classes and of their names.
    """

    name: str
    train: Split
    test: Split
    num_classes: Count
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check("num_classes", self.num_classes, Count)
        if self.class_names and len(self.class_names) != self.num_classes:
            raise InputError(f"expected names of {self.num_classes} classes, got {len(self.class_names)}")
        shape = as_array("images", self.train[0]).shape[1:]
        for name in ("train", "test"):
            images, labels = map(as_array, Split._fields, getattr(self, name))
            try:
                check_images(images, shape)
                check_labels(labels, self.num_classes, num_images=len(images))
            except InputError as error:
                raise InputError(f"{error} in the {name} split") from error
            object.__setattr__(self, name, Split(images, labels.astype(np.int32, copy=False)))

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Height, width and channels of an image."""
        return self.train.images.shape[1:]

    @property
    def num_features(self) -> int:
        """Number of values of an image."""
        return math.prod(self.image_shape)


def load(
    name: Given = "digits",
    data_dir: str | Path | None = None,
    *,
    original_order: bool = False,
    size: int | None = None,
    fit: Fit = "crop",
    grey: bool = False,
    upright: bool = False,
    test_share: float | None = None,
    skip_broken: bool = False,
) -> Dataset:
    """Load a data set by its name, from a file or a folder of one's own, or of arrays.

    What was decided in reading is in the data set's `notes`. Files of other shapes than 28x28x1 are read as they are.

    Args:
        name: Name of the set: "mnist", which comes with the package; "digits", scikit-learn's 1,797 handwritten
            digits, bicubically enlarged from 8x8, split 1437/360 by stratified sampling with seed 0; "fashion_mnist",
            "kmnist", "emnist/balanced" and its siblings, or another image classification set of TensorFlow Datasets
            with images of one size; "hf:OWNER/NAME" of Hugging Face's hub. Or a path, told by looking at it: a folder
            of pictures or of class folders, with train and test above them or not; .npz or .npy files; CSV; IDX
            files; CIFAR's batches; SVHN's .mat; parquet or Arrow files. Or arrays: a mapping with the names of an
            .npz file, a pair (images, labels), or two pairs, to train and to test.
        data_dir: Folder with the named set's IDX files, gzipped or not, in it or where torchvision puts them below it;
            or a TensorFlow Datasets folder. It is never written to. Left out, the package's MNIST or TensorFlow
            Datasets' own folder is used, and the set prepared there if need be.
        original_order: Whether examples that TensorFlow Datasets keeps in the order of a hash are put into the order
            of the set's authors. All other data are left as they are.
        size: Pixels of a side that images are resampled to, bicubically and with antialiasing.
        fit: Way to make a picture square before that: crop its middle, or pad it with black.
        grey: Whether colours become luminance.
        upright: Whether EMNIST's images, which its authors left lying on their side, are turned upright.
        test_share: Share of each class that becomes the test set where the data have none; by default a sixth.
        skip_broken: Whether pictures that cannot be read are left out and counted, rather than refused.

    Raises:
        InputError: If the name is unknown, the data cannot be had or read, images are of several sizes, a label is
            outside the classes, or a split is empty.
    """
    reading = Reading(size=size, fit=fit, grey=grey, upright=upright, test_share=test_share, skip_broken=skip_broken)
    return load_as(reading, name, data_dir, original_order=original_order)


def load_as(
    reading: Reading, name: Given = "digits", data_dir: str | Path | None = None, *, original_order: bool = False
) -> Dataset:
    """Load a data set as `load` does, read as a reading says.

    Raises:
        InputError: If `load` would.
    """
    if not isinstance(name, str | Path):
        if not isinstance(name, Mapping | tuple):
            raise InputError(f"expected a data set to be a name, a path or arrays, got {told(name)}")
        return _own("arrays", finished(turned(in_memory(name), reading, emnist=False), reading, "the arrays"))
    check("a data set", name, Path)
    path = _path_of(name)
    if path is None:
        return _as_read(_named(str(name), data_dir, original_order), reading)
    check_data_dir(name, data_dir)
    if not is_there(path):
        raise InputError(unknown(name, ()))
    source = look(path)
    found = read_source(source, reading)
    if source.kind != "arrays":
        found = dataclasses.replace(found, notes=(f"{source.kind} of {path}: {_counts(found)}", *found.notes))
    return _own(_name_of(str(name), path), found)


def check_data_dir(name: str | Path, data_dir: str | Path | None) -> None:
    """Refuse a folder of data beside data that are a path themselves.

    Raises:
        InputError: If both are given.
    """
    if data_dir is not None and _path_of(name, download=False) is not None:
        raise InputError(f"expected no data_dir beside the path of the data, got {data_dir} beside {name}")


def files_of(name: Given, data_dir: str | Path | None = None) -> list[Path]:
    """The files that `load` reads, or the folder that they are in, as far as they are there."""
    if not isinstance(name, str | Path):
        return []
    path = _path_of(name, download=False)
    if path is not None:
        try:
            return [path] if path.is_dir() or not is_there(path) else [*dict.fromkeys((path, *look(path).files))]
        except InputError:  # which `load` tells
            return [path]
    name = str(name)
    if name == "digits" or name.startswith(HUB):
        return []
    if name == "mnist" and data_dir is None:
        return [FOLDER]
    folder = None if data_dir is None else Path(data_dir).expanduser()
    if folder is None:
        prepared = tfds.find_prepared(name, tfds.default_folder())
        return [prepared] if prepared else []
    if not os.access(folder, os.R_OK | os.X_OK):
        return []
    return list(idx.find_files(name, folder) or [folder])


def _path_of(name: str | Path, *, download: bool = True) -> Path | None:
    """The path that a name is; None where it is the name of a set."""
    if isinstance(name, Path):
        return expanded(name)
    if name in ("", "digits", *_NUM_CLASSES):
        return None
    if name.startswith(HUB):
        return downloaded(name) if download else None
    path = expanded(name)
    is_path = is_there(path) or path.suffix.lower() in SUFFIXES or name.startswith((".", "/", "~"))
    return path if is_path else None


def _name_of(name: str, path: Path) -> str:
    """What a data set of a path is called: its folder's name, its file's without the suffix."""
    if name.startswith(HUB):
        return name.removeprefix(HUB)
    return (path.stem if path.is_file() else path.resolve().name) or "data"


def _counts(found: Found) -> str:
    assert found.test is not None
    height, width, channels = found.train.images.shape[1:]
    classes = f"{found.num_classes} {'class' if found.num_classes == 1 else 'classes'}"
    return (
        f"{len(found.train.labels)} images to train on and {len(found.test.labels)} to test on, {classes},"
        f" {width}x{height} {'grey' if channels == 1 else 'in colours'}"
    )


def _own(name: str, found: Found) -> Dataset:
    """A data set of what was found and is finished."""
    assert found.test is not None
    assert found.num_classes is not None
    train, test = (Split(part.images, part.labels) for part in (found.train, found.test))
    return Dataset(name, train, test, found.num_classes, found.class_names, found.notes)


def _as_read(dataset: Dataset, reading: Reading) -> Dataset:
    """A named set as a reading asks for it: the very set where that asks nothing."""
    found = Found(Part(*dataset.train), Part(*dataset.test), dataset.num_classes)
    found = finished(turned(found, reading, emnist=dataset.name.startswith("emnist")), reading, dataset.name)
    return _own(dataset.name, found)


def _named(name: str, data_dir: str | Path | None, original_order: bool) -> Dataset:
    if name == "digits":
        return cached("digits-bicubic", digits_arrays, lambda arrays: _dataset(name, arrays))
    if name == "mnist" and data_dir is None:
        return _dataset(name, _read_idx(name, mnist_files()))
    folder = None if data_dir is None else expanded(data_dir)
    if folder is not None and not (folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)):
        raise InputError(f"expected a data_dir that can be read, got {folder}")
    if name in _NUM_CLASSES and folder is not None and (files := idx.find_files(name, folder)):
        return _dataset(name, _read_idx(name, files), source=str(files.train_images.parent))
    return _load_tfds(name, folder, original_order)


def arrays_of(train: Split, test: Split, num_classes: int) -> Arrays:
    """The arrays of a data set by their names in a file."""
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
    return arrays_of(*splits, num_classes=_NUM_CLASSES[name])


def _load_tfds(name: str, folder: Path | None, original_order: bool) -> Dataset:
    unversioned = name.partition(":")[0]
    in_idx = unversioned in _NUM_CLASSES
    prepared = tfds.find_prepared(name, folder or tfds.default_folder())
    if prepared is None:
        prepared = tfds.prepare(
            name,
            known=["digits", *_NUM_CLASSES],
            image_shape=_IMAGE_SHAPE if in_idx else None,
            archives=folder,
            files=[f"{path}.gz" for path in idx.file_names(unversioned)] if in_idx else (),
        )
    if original_order and not in_idx:
        raise InputError(f"expected an IDX set for its original order, got {name}, whose order is not known")

    def build() -> Arrays:
        arrays = tfds.read(prepared, name, _IMAGE_SHAPE if in_idx else None)
        if in_idx:
            arrays["num_classes"] = np.asarray(_NUM_CLASSES[unversioned], np.int32)
        return arrays

    # Another set prepared in the same place has another dataset_info.json.
    stamp = hashlib.sha256(str(prepared.resolve()).encode())
    stamp.update((prepared / "dataset_info.json").read_bytes())
    key = f"{unversioned.replace('/', '-')}-{prepared.name}-{stamp.hexdigest()[:16]}"
    dataset = cached(key, build, lambda arrays: _dataset(name, arrays, str(prepared), own_shape=not in_idx))
    if not original_order:
        return dataset
    train, test = (
        Split(*(array[tfds.original_positions(kind, len(array))] for array in split))
        for kind, split in (("train", dataset.train), ("test", dataset.test))
    )
    return dataclasses.replace(dataset, train=train, test=test)


def _dataset(name: str, arrays: Arrays, source: str | None = None, *, own_shape: bool = False) -> Dataset:
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
            check_images(images, arrays["train_images"].shape[1:] if own_shape else _IMAGE_SHAPE)
            if images.dtype != np.uint8:
                raise InputError(f"expected uint8 images, got {images.dtype}")
            check_labels(labels, num_classes, num_images=len(images))
        except InputError as error:
            raise InputError(f"{error} in the {split} split of {source or name}") from error
        splits.append(Split(images, labels.astype(np.int32)))
    if declared is None:
        num_classes = 1 + max(int(split.labels.max()) for split in splits)
    return Dataset(name, *splits, num_classes=num_classes)
