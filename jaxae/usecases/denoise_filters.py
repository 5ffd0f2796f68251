"""What people denoise with today: PCA, the median filter and non-local means, each tuned."""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from jaxae.data.dataset import Dataset
from jaxae.storage.extra import extra
from jaxae.usecases.image_quality import mean_psnr
from jaxae.usecases.principal import fit_pca, rows_of

if TYPE_CHECKING:
    import sklearn.decomposition

Images = Float[np.ndarray, "n h w 1"]
Method = Callable[[Images], Images]


def usual_methods(
    principal: "sklearn.decomposition.PCA", clean: Images, noisy: Images
) -> dict[str, tuple[Method, str]]:
    """What people use today, each with the settings that do best on a corrupted sample."""
    grids: dict[str, tuple[Callable[..., Images], dict[str, tuple]]] = {
        "PCA": (partial(_by_pca, principal), {"size": (8, 16, 32, 64, 128, 256)}),
        "median filter": (_by_median, {"size": (3, 5, 7)}),
        "non-local means": (
            _by_nonlocal_means,
            {"patch": (3, 5), "h": (0.05, 0.1, 0.2, 0.3, 0.45), "sigma": (0.0, 0.15, 0.3)},
        ),
    }
    usual = {}
    for name, (run, grid) in grids.items():
        tried = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
        best = max(tried, key=lambda fixed, run=run: mean_psnr(clean, run(noisy, **fixed)))
        tuned = ", ".join(f"{key} {value}" for key, value in best.items())
        usual[name] = (partial(run, **best), tuned)
    return usual


def principal_components(dataset: Dataset, seed: int) -> "sklearn.decomposition.PCA":
    """scikit-learn's PCA of the training images, at most 256 directions."""
    rows = rows_of(dataset.train.images)
    return fit_pca(rows, min(256, *rows.shape), seed=seed, solver="randomized")


def _by_pca(principal: "sklearn.decomposition.PCA", images: Images, *, size: int) -> Images:
    directions, mean = np.asarray(principal.components_)[:size], np.asarray(principal.mean_)[None]
    centred = images.reshape(len(images), -1) - mean
    restored = (centred @ directions.T) @ directions + mean
    return np.clip(restored, 0, 1).astype(np.float32).reshape(images.shape)


def _by_median(images: Images, *, size: int) -> Images:
    from scipy.ndimage import median_filter

    return median_filter(images, (1, size, size, 1))


def _by_nonlocal_means(images: Images, *, patch: int, h: float, sigma: float) -> Images:
    # sigma and h are tuned against clean images, which serves it better than estimating sigma.
    denoise = extra("skimage.restoration", "scikit-image").denoise_nl_means
    settings = {"patch_size": patch, "patch_distance": 7, "h": h, "sigma": sigma, "fast_mode": True}
    restored = np.stack([denoise(image, **settings) for image in images[..., 0]])
    return np.clip(restored, 0, 1)[..., None].astype(np.float32)
