"""How near images come to their originals: two forms of PSNR, and SSIM."""

import numpy as np
from jaxtyping import Float, UInt8

from jaxae.errors import InputError
from jaxae.storage.extra import extra


def mean_psnr(originals: Float[np.ndarray, "n h w c"], images: Float[np.ndarray, "n h w c"]) -> float:
    """Mean over images of each image's peak signal-to-noise ratio, in dB for pixels in [0, 1].

    An image restored exactly counts as 100 dB. A few images that are hard do not decide the mean, as they do in
    `pooled_psnr`.

    Raises:
        InputError: If the shapes differ.
    """
    _check_shapes(originals, images)
    error = ((originals - images) ** 2).mean((1, 2, 3))
    return float((-10 * np.log10(np.maximum(error, 1e-10))).mean())


def pooled_psnr(originals: UInt8[np.ndarray, "*shape"], images: UInt8[np.ndarray, "*shape"]) -> float:
    """Peak signal-to-noise ratio of the mean squared error over all pixels of all images, in dB.

    Infinite where all pixels are equal.

    Raises:
        InputError: If the shapes differ.
    """
    _check_shapes(originals, images)
    error = np.mean((originals.astype(np.float64) - images) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def ssim(originals: Float[np.ndarray, "n h w 1"], images: Float[np.ndarray, "n h w 1"]) -> float:
    """Mean over images of the structural similarity, 1 at best (Wang et al. 2004).

    Raises:
        InputError: If the shapes differ, or scikit-image is not installed.
    """
    _check_shapes(originals, images)
    similarity = extra("skimage.metrics", "scikit-image").structural_similarity
    pairs = zip(originals[..., 0], images[..., 0], strict=True)
    return float(np.mean([similarity(a, b, data_range=1.0) for a, b in pairs]))


def _check_shapes(originals: np.ndarray, images: np.ndarray) -> None:
    # Broadcasting would compare [n, h, w, 1] with [1, h, w, 1] without a word.
    if originals.shape != images.shape:
        raise InputError(f"expected images {list(originals.shape)}, got {list(images.shape)}")
