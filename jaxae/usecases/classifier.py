"""The judge of generated images: a classifier trained on real ones, and what it measures."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Num

from jaxae.data.dataset import Dataset
from jaxae.errors import InputError
from jaxae.network.layers import Conv, Linear, flatten_as_torch
from jaxae.network.parameters import Parameters, parameters_of
from jaxae.usecases.supervised import apply, network_of, passes, train_compiled

_FEATURES = 128


class ConvolutionalClassifier(nnx.Module):
    """Two strided convolutions (28, 12, 4) and two linear layers, relu between."""

    def __init__(self, num_classes: int, *, rngs: nnx.Rngs):
        self.conv_1 = Conv(1, 32, 5, stride=2, rngs=rngs)
        self.conv_2 = Conv(32, 64, 5, stride=2, rngs=rngs)
        self.linear_1 = Linear(64 * 4 * 4, _FEATURES, rngs=rngs)
        self.linear_2 = Linear(_FEATURES, num_classes, rngs=rngs)

    def look(
        self, x: Float[Array, "batch 28 28 1"]
    ) -> tuple[Float[Array, "batch classes"], Float[Array, "batch features"]]:
        """Logits of the classes of images in [0, 1], and the layer before them."""
        x = jax.nn.relu(self.conv_2(jax.nn.relu(self.conv_1(x))))
        features = jax.nn.relu(self.linear_1(flatten_as_torch(x)))
        return self.linear_2(features), features

    def __call__(self, x: Float[Array, "batch 28 28 1"]) -> Float[Array, "batch classes"]:
        """Logits of the classes of images in [0, 1]."""
        return self.look(x)[0]


@dataclass(frozen=True, eq=False)
class Judge:
    """A trained classifier of real images, with the features of a reference set.

    Attributes:
        accuracy: Accuracy of the classifier on the test set.
        parameters: Parameters of the classifier.
        num_classes: Number of classes that it tells apart.
        reference: Features of the test images.
    """

    accuracy: float
    parameters: Parameters
    num_classes: int
    reference: Float[np.ndarray, "n features"]

    def judge(self, images: Num[np.ndarray, "n 28 28 1"], labels: Int[np.ndarray, " n"]) -> tuple[float, float]:
        """Share of images, uint8 or in [0, 1], taken for their label, and their Fréchet distance from the test set."""
        accuracy, features = _look(self.num_classes, self.parameters, images, labels)
        return accuracy, frechet_distance(features, self.reference)


def train_judge(dataset: Dataset, *, steps: int | None = None, seed: int = 0) -> Judge:
    """Train the classifier on the real training images, by Adam at 0.001, batches of 128.

    Five passes unless `steps` says otherwise, and at least 500 steps.
    """
    images, labels = dataset.train
    batch = min(128, len(labels))
    model = ConvolutionalClassifier(dataset.num_classes, rngs=nnx.Rngs(seed))
    steps = steps or max(500, 5 * len(labels) // batch)
    order = passes(np.random.default_rng(seed), len(labels), batch, steps)
    network = network_of(ConvolutionalClassifier, dataset.num_classes)
    parameters = train_compiled(network, parameters_of(model), *map(jnp.asarray, (images, labels, order)), 0.001)
    accuracy, features = _look(dataset.num_classes, parameters, *dataset.test)
    return Judge(accuracy, parameters, dataset.num_classes, features)


def _look(
    num_classes: int, parameters: Parameters, images: np.ndarray, labels: np.ndarray
) -> tuple[float, Float[np.ndarray, "n features"]]:
    """Share of images that are taken for their label, and features of all."""
    logits, features = apply(network_of(ConvolutionalClassifier, num_classes, method="look"), parameters, images)
    return float((logits.argmax(1) == labels).mean()), features


def frechet_distance(first: Float[np.ndarray, "n features"], second: Float[np.ndarray, "m features"]) -> float:
    """Squared Fréchet distance of the Gaussians that fit two sets of features.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)): Heusel et al. 2017 (arXiv:1706.08500), there on Inception's features.

    Raises:
        InputError: If the sets have other numbers of features, or fewer than two members.
    """
    if first.shape[1:] != second.shape[1:] or min(len(first), len(second)) < 2:
        raise InputError(f"expected two sets of vectors of one length, got {first.shape} and {second.shape}")
    first, second = first.astype(np.float64), second.astype(np.float64)
    difference = first.mean(0) - second.mean(0)
    one, two = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(np.maximum(values, 0))[None]) @ vectors.T
    # The eigenvalues of C1 C2 are those of this symmetric matrix.
    product = np.linalg.eigvalsh(root @ two @ root)
    cross = np.sqrt(np.maximum(product, 0)).sum()
    return float(difference @ difference + np.trace(one) + np.trace(two) - 2 * cross)
