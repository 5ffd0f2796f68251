"""PCA of images, the usual tool that most use cases are measured against."""

from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float, Num

from jaxae.data.pixels import as_unit_float

if TYPE_CHECKING:
    import sklearn.decomposition


def rows_of(images: Num[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n pixels"]:
    """Images as rows of pixels in [0, 1]."""
    return as_unit_float(images).reshape(len(images), -1)


def fit_pca(
    rows: Float[np.ndarray, "n pixels"], size: int, *, seed: int = 0, solver: Literal["auto", "randomized"]
) -> "sklearn.decomposition.PCA":
    """scikit-learn's PCA of so many dimensions, fitted to rows of pixels."""
    from sklearn.decomposition import PCA

    return PCA(size, svd_solver=solver, random_state=seed).fit(rows)
