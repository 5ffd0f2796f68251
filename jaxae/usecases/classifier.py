"""The judge of generated images: a classifier trained on real ones, and what it measures."""

from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Num

from jaxae.data.dataset import Dataset
from jaxae.errors import InputError
from jaxae.network.layers import Conv, Linear, flatten_as_torch
from jaxae.network.parameters import Parameters, parameters_of
from jaxae.usecases.supervised import Network, apply, passes, train_compiled, unit_pixels

_FEATURES = 128


class ConvolutionalClassifier(nnx.Module):
    """Two strided convolutions (28, 12, 4) and two linear layers, relu between."""

    def __init__(self, num_classes: int, *, rngs: nnx.Rngs):
        self.conv_1 = Conv(1, 32, 5, stride=2, rngs=rngs)
        self.conv_2 = Conv(32, 64, 5, stride=2, rngs=rngs)
        self.linear_1 = Linear(64 * 4 * 4, _FEATURES, rngs=rngs)
        self.linear_2 = Linear(_FEATURES, num_classes, rngs=rngs)

    def features(self, x: Float[Array, "batch 28 28 1"]) -> Float[Array, "batch features"]:
        """The layer before the logits."""
        x = jax.nn.relu(self.conv_2(jax.nn.relu(self.conv_1(x))))
        return jax.nn.relu(self.linear_1(flatten_as_torch(x)))

    def __call__(self, x: Float[Array, "batch 28 28 1"]) -> Float[Array, "batch classes"]:
        """Logits of the classes of images in [0, 1]."""
        return self.linear_2(self.features(x))


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
        """How many images are taken for their label, and their Fréchet distance from the test set.

        Args:
            images: uint8, or floats in [0, 1].
            labels: What each is meant to be.
        """
        logits, features = self._look(images)
        accuracy = float((logits.argmax(1) == labels).mean())
        return accuracy, frechet_distance(features, self.reference)

    def _look(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _logits_and_features(self.num_classes, self.parameters, images)


def train_judge(dataset: Dataset, *, steps: int | None = None, seed: int = 0) -> Judge:
    """Train the classifier on the real training images, by Adam at 0.001, batches of 128.

    Five passes unless `steps` says otherwise, and at least 500 steps.
    """
    images, labels = dataset.train
    batch = min(128, len(labels))
    model = ConvolutionalClassifier(dataset.num_classes, rngs=nnx.Rngs(seed))
    steps = steps or max(500, 5 * len(labels) // batch)
    order = passes(np.random.default_rng(seed), len(labels), batch, steps)
    parameters = train_compiled(
        _logits_of(dataset.num_classes),
        parameters_of(model),
        jnp.asarray(images),
        jnp.asarray(labels),
        jnp.asarray(order),
        0.001,
    )
    logits, features = _logits_and_features(dataset.num_classes, parameters, dataset.test.images)
    accuracy = float((logits.argmax(1) == dataset.test.labels).mean())
    return Judge(accuracy, parameters, dataset.num_classes, features)


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


@cache
def _graph(num_classes: int) -> nnx.GraphDef:
    build = nnx.eval_shape(lambda: ConvolutionalClassifier(num_classes, rngs=nnx.Rngs(0)))
    return nnx.split(build)[0]


@cache
def _logits_of(num_classes: int) -> Network:
    return lambda parameters, x: nnx.merge(_graph(num_classes), parameters)(unit_pixels(x))


@cache
def _both_of(num_classes: int) -> Network:
    def both(parameters: Parameters, x: Array) -> Array:
        model = nnx.merge(_graph(num_classes), parameters)
        features = model.features(unit_pixels(x))
        return jnp.concatenate([features, model.linear_2(features)], axis=1)

    return both


def _logits_and_features(num_classes: int, parameters: Parameters, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    both = apply(_both_of(num_classes), parameters, images)
    return both[:, _FEATURES:], both[:, :_FEATURES]
