"""Data sets as files of one's own."""

from pathlib import Path

import numpy as np

from jaxae.data.dataset import Dataset, arrays_of
from jaxae.errors import InputError
from jaxae.storage import npz


def save_arrays(dataset: Dataset, path: str | Path) -> None:
    """Write a data set as an .npz file, whole or absent, for `load` and for anyone's NumPy.

    Its arrays are train_images and test_images (uint8 [N, H, W, C]), train_labels and test_labels (int32 [N]),
    num_classes, and class_names where there are any.

    Raises:
        InputError: If the name does not end in .npz, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise InputError(f"expected a file name ending in .npz, got {path.name}")
    names = {"class_names": np.array(dataset.class_names)} if dataset.class_names else {}
    npz.write(path, {**arrays_of(dataset.train, dataset.test, dataset.num_classes), **names})
