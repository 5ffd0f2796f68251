"""scikit-learn's handwritten digits, enlarged to 28x28: real handwriting with no download."""

from typing import cast

import numpy as np
from jaxtyping import Int64, UInt8

_SMALL, _LARGE = 8, 28


def digits_arrays() -> dict[str, np.ndarray]:
    """Enlarge and split the 1,797 digits: 1437 to train on and 360 to test, stratified, seed 0.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits" (UCI, 1998).
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    flat, targets = cast(tuple[np.ndarray, np.ndarray], load_digits(return_X_y=True))
    images = enlarge(flat.reshape(-1, _SMALL, _SMALL).astype(np.int64))
    labels = targets.astype(np.int32)
    train, test = train_test_split(
        np.arange(len(labels)), train_size=1437, test_size=360, random_state=0, stratify=labels
    )
    return {
        "train_images": images[train],
        "train_labels": labels[train],
        "test_images": images[test],
        "test_labels": labels[test],
        "num_classes": np.asarray(10, np.int32),
    }


def enlarge(images: Int64[np.ndarray, "batch 8 8"]) -> UInt8[np.ndarray, "batch 28 28 1"]:
    """Enlarge images of values 0..16 to 28x28 pixels of 0..255, bicubically.

    Half-pixel centres, edges repeated, overshoot clipped; R. Keys, "Cubic convolution interpolation for digital image
    processing" (1981), a = -1/2. In integers, so that every machine rounds alike.
    """
    rows = _cubic_weights()
    # Every weight is a multiple of 1 / (2 * 14**3), and both directions are weighed.
    unit = 16 * (2 * 14**3) ** 2
    pixels = (2 * 255 * (rows @ images @ rows.T) + unit) // (2 * unit)
    return np.clip(pixels, 0, 255).astype(np.uint8)[..., None]


def _cubic_weights() -> Int64[np.ndarray, "28 8"]:
    weights = np.zeros((_LARGE, _SMALL), np.int64)
    for row in range(_LARGE):
        # The centre of large pixel `row` lies at (4 row - 5) / 14 among the small pixels' centres.
        left, k = divmod(4 * row - 5, 14)
        taps = (
            -196 * k + 28 * k**2 - k**3,
            5488 - 70 * k**2 + 3 * k**3,
            196 * k + 56 * k**2 - 3 * k**3,
            -14 * k**2 + k**3,
        )
        for offset, tap in enumerate(taps, start=-1):
            weights[row, min(max(left + offset, 0), _SMALL - 1)] += tap
    return weights
