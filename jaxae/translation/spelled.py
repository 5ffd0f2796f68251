"""Arguments of a network as a command line spells them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxae.errors import InputError
from jaxae.storage import npz
from torch_ref.recording import shape_of


def read_arguments(words: Sequence[str]) -> tuple[np.ndarray, ...]:
    """The arrays that words say: 2x3x32x32 of normal numbers, 2x16:50 of whole numbers below 50, or a .npy file.

    Raises:
        InputError: If one says none, or a file is none.
    """
    rng = np.random.default_rng(0)
    arrays = []
    for word in words:
        text, colon, below = word.partition(":")
        shape = shape_of(text)
        if shape is not None and not colon:
            arrays.append(rng.standard_normal(shape))
        elif shape is not None and below.isascii() and below.isdigit() and 0 < int(below) < 1 << 31:
            arrays.append(rng.integers(int(below), size=shape))
        elif word.endswith(".npy"):
            arrays.append(npz.read_npy(Path(word)))
        else:
            raise InputError(
                f"expected --inputs like 2x3x32x32, 2x16:50 for whole numbers, or a .npy file, got {word!r}"
            )
    return tuple(arrays)
