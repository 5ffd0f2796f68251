"""The usual generator: a Gaussian mixture of each class on PCA codes."""

import warnings

import numpy as np
from jaxtyping import Float, Int

from jaxae.data.dataset import Dataset
from jaxae.usecases.principal import fit_pca, rows_of


def mixture_samples(
    dataset: Dataset, labels: Int[np.ndarray, " n"], components: int, seed: int
) -> Float[np.ndarray, "n 28 28 1"]:
    """Draw images of each label from a Gaussian mixture of its training images' PCA-50 codes.

    Args:
        dataset: Data set whose training images the mixtures are fitted to.
        labels: Classes of the samples.
        components: Largest number of Gaussians of each class.
        seed: Seed of PCA and mixtures.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    rows = rows_of(dataset.train.images)
    principal = fit_pca(rows, 50, seed=seed, solver="auto")
    # In float32 a covariance may round to one that is not positive.
    codes = principal.transform(rows).astype(np.float64)
    samples = np.empty((len(labels), codes.shape[1]))
    for label in np.unique(labels):
        own = codes[dataset.train.labels == label]
        # A Gaussian of 50 dimensions wants some hundreds of points.
        number = max(1, min(components, len(own) // 300))
        mixture = GaussianMixture(number, reg_covar=1e-4, random_state=seed, max_iter=50)
        # Of matrices this small, threads cost more than they bring; on busy cores ten times more.
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            mixture.fit(own)
        wanted = labels == label
        samples[wanted] = mixture.sample(int(wanted.sum()))[0]
    images = np.clip(principal.inverse_transform(samples), 0, 1)
    return images.reshape(-1, 28, 28, 1).astype(np.float32)
