"""How unlike the training images an image is: scores of reconstructions, higher is stranger."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from jaxae.bounds import Share, check
from jaxae.errors import InputError

Images = Float[np.ndarray, "n 28 28 1"]
Scores = Float[np.ndarray, " n"]
Score = Callable[[Images], Scores]


def squared_error(images: Images, reconstructions: Images) -> Scores:
    """Sum over pixels of the squared difference."""
    difference = _difference(images, reconstructions)
    return (difference**2).sum((1, 2, 3))


def smoothed_relative_error(images: Images, reconstructions: Images, *, deviation: float = 1.0) -> Scores:
    """Energy of the blurred difference, as a share of the image's own energy.

    A stroke that is a pixel off leaves a pair of thin lines of opposite sign, which a blur cancels; a stroke that is
    missing leaves a broad one, which it keeps. Dividing by the image's energy stops a thin anomaly from passing
    because it has little ink to get wrong.

    Args:
        images: Pixels in [0, 1].
        reconstructions: Reconstructions, of the same shape.
        deviation: Standard deviation of the Gaussian blur, in pixels.
    """
    from scipy.ndimage import gaussian_filter

    difference = _difference(images, reconstructions)
    blurred = gaussian_filter(difference, (0, deviation, deviation, 0))
    # A blank image has no energy; one pixel's worth keeps its score finite.
    return (blurred**2).sum((1, 2, 3)) / np.maximum((images**2).sum((1, 2, 3)), 1)


def threshold(normal_scores: Scores, contamination: float) -> float:
    """The score that a wanted share of images like these will exceed.

    Args:
        normal_scores: Scores of images that the model was not trained on, or the share comes out larger.
        contamination: That share, between 0 and 1.
    """
    check("contamination", contamination, Share)
    return float(np.quantile(normal_scores, 1 - contamination))


def _difference(images: Images, reconstructions: Images) -> Images:
    if images.shape != reconstructions.shape:
        raise InputError(
            f"expected images and reconstructions of one shape, got {images.shape} and {reconstructions.shape}"
        )
    return images - reconstructions
