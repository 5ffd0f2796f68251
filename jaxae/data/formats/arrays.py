"""Arrays by name, in memory or in .npz and .npy files, under the names that Keras, MedMNIST and others give them."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from jaxae.data.pixels import as_array
from jaxae.data.reading import Found, Part, number_labels
from jaxae.errors import InputError, brief
from jaxae.storage import npz

TESTS = ("test", "t10k", "testing")
VALIDATIONS = ("val", "valid", "validation", "dev")
TRAININGS = ("train", "training")
_IMAGES = ("images", "image", "x", "data", "imgs", "pixels")
_LABELS = ("labels", "label", "y", "targets", "target", "classes")
_CONVENTIONS = (
    "train_images and train_labels, x_train and y_train, or images and labels (test_..., val_... beside them)"
)


def split_of(name: str) -> str | None:
    """The split that a word of a name says: "train", "test" or "val"; None where none does."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    for split, spellings in (("test", TESTS), ("val", VALIDATIONS), ("train", TRAININGS)):
        if any(word in spellings for word in words):
            return split
    return None


def role_of(name: str) -> tuple[str, str] | None:
    """The split, and "images" or "labels", that the name of an array says; None where it says neither or more."""
    words = {word for word in re.split(r"[^a-z0-9]+", name.lower()) if word}
    kinds = [kind for kind, known in (("images", _IMAGES), ("labels", _LABELS)) if words & {*known}]
    if len(kinds) != 1 or words - {*TESTS, *VALIDATIONS, *TRAININGS, *_IMAGES, *_LABELS}:
        return None
    return split_of(name) or "train", kinds[0]


def read_npz(path: Path) -> Found:
    """A data set of a .npz file.

    Raises:
        InputError: If it cannot be read, or has no images and labels under names that are known.
    """
    return named_arrays(npz.read(path), str(path))


def read_npy(files: Mapping[str, Path], where: str) -> Found:
    """A data set of .npy files, by their names without the suffix.

    Raises:
        InputError: If one cannot be read, or there are no images and labels under names that are known.
    """
    return named_arrays({name: npz.read_npy(path) for name, path in files.items()}, where)


def in_memory(given: Mapping[str, ArrayLike] | tuple[object, ...]) -> Found:
    """A data set of arrays: named as in a .npz file, a pair of images and labels, or two pairs, to train and to test.

    Raises:
        InputError: If they are none.
    """
    if isinstance(given, tuple):
        if len(given) != 2:
            raise InputError(f"expected images and labels, or two pairs of them, got {len(given)} members")
        first, second = given
        if isinstance(first, tuple) and isinstance(second, tuple) and len(first) == len(second) == 2:
            named = {"x_train": first[0], "y_train": first[1], "x_test": second[0], "y_test": second[1]}
        else:
            named = {"images": first, "labels": second}
    else:
        named = {**given}
    return named_arrays({str(name): as_array(str(name), values) for name, values in named.items()}, "the arrays")


def named_arrays(arrays: Mapping[str, np.ndarray], where: str) -> Found:
    """A data set of arrays by their names.

    Raises:
        InputError: If no images and labels are under names that are known, or they are of no shape of images.
    """
    splits = _splits(arrays)
    if "train" not in splits:
        raise InputError(
            f"expected the arrays {_CONVENTIONS} in {where}, got {brief(', '.join(arrays), 150) or 'none'}"
        )
    for split, names in splits.items():
        if missing := {"images", "labels"} - set(names):
            have = " and ".join(names.values())
            raise InputError(f"expected {' and '.join(missing)} of {split} in {where}, got {brief(have)} alone")
    labels, class_names = number_labels({split: arrays[names["labels"]] for split, names in splits.items()}, where)
    parts = {
        split: Part(as_images(arrays[names["images"]], f"{names['images']} of {where}"), labels[split])
        for split, names in splits.items()
    }
    declared = arrays.get("num_classes")
    if declared is not None and (declared.shape != () or declared.dtype.kind not in "iu"):
        raise InputError(f"expected num_classes to be an integer in {where}, got another array")
    num_classes = None if declared is None else int(declared)
    return found_of(parts, num_classes=num_classes, class_names=class_names or _class_names(arrays))


def found_of(
    parts: Mapping[str, Part],
    *,
    num_classes: int | None = None,
    class_names: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Found:
    """What was found, from parts by split: "train", and "test" and "val" where they are.

    The test set is test; where there is none, val is it; where there are both, val is left out.
    """
    test = parts.get("test", parts.get("val"))
    if "val" in parts:
        count = len(parts["val"].labels)
        told = f"the validation set of {count} images is "
        notes = (*notes, told + ("left out" if "test" in parts else "the test set"))
    return Found(parts["train"], test, num_classes or len(class_names) or None, class_names, notes)


def as_images(images: np.ndarray, what: str) -> np.ndarray:
    """Images [n, h, w, c] of an array that may have no axis of channels, rows of square images, or bytes as numbers.

    Raises:
        InputError: If it is of no such shape or dtype.
    """
    shape = "x".join(map(str, images.shape)) or "a scalar"
    if images.dtype.kind in "iuf" and images.dtype != np.uint8 and images.size:
        low, high = images.min(), images.max()
        # Whole numbers up to 255 are bytes, however they are kept; floats up to 1 are no bytes.
        bytes_all = images.dtype.kind in "iu" or (high > 1 and bool((images == np.floor(images)).all()))
        if bytes_all and low >= 0 and high <= 255:
            images = images.astype(np.uint8)
    if images.ndim == 2 and (side := round(images.shape[1] ** 0.5)) ** 2 == images.shape[1]:
        images = images.reshape(-1, side, side)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        first = images.ndim == 4 and images.shape[1] in (1, 3)
        hint = "; .transpose(0, 2, 3, 1) puts its channels last" if first else ""
        raise InputError(f"expected images [n, h, w] or [n, h, w, 1 or 3], got {shape} in {what}{hint}")
    return images


def _splits(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, str]]:
    """Names of the arrays of images and labels, by split."""
    splits: dict[str, dict[str, str]] = {}
    for name in arrays:
        if role := role_of(name):
            split, kind = role
            splits.setdefault(split, {}).setdefault(kind, name)
    return splits


def _class_names(arrays: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    names = arrays.get("class_names", np.zeros(0, "U1"))
    return tuple(map(str, names)) if names.ndim == 1 and names.dtype.kind == "U" else ()
