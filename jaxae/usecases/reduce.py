"""Dimensionality reduction: codes of a few dimensions, beside PCA of the same size."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from jaxae.config import Activation, AutoencoderConfig, RunConfig, TrainConfig, read_config
from jaxae.data.dataset import Dataset
from jaxae.data.pixels import as_unit_float
from jaxae.errors import InputError
from jaxae.network.apply import decode, encode
from jaxae.network.models import Autoencoder
from jaxae.plots import new_figure, principal_plane, save_figure, scatter_classes
from jaxae.usecases.report import Column, Comparison
from jaxae.usecases.source import obtain

_FEWEST_STEPS = 1000

Rows = Float[np.ndarray, "n pixels"]
Codes = Float[np.ndarray, "n code"]


@dataclass(frozen=True)
class ReduceSettings:
    """What is compared, and how it is measured.

    Attributes:
        sizes: Dimensions of the codes.
        hidden: Widths of the deep autoencoder, from the input to before its code.
        activation: Of the deep autoencoder. tanh spreads a code over (-1, 1), where the post's
            leaky_relu folds it into a corner.
        epochs: Passes over the training set; None makes it 20, and at least 1,000 steps.
        batch_size: Examples a step.
        learning_rate: Adam's, of the deep autoencoder; the shallow one's is the post's.
        neighbours: Of the k-NN classifier, and of the trustworthiness.
        mapped: Test images of the trustworthiness and of the map; the cost is quadratic.
        seed: Of weights and order, and of PCA.
    """

    sizes: tuple[int, ...] = (2, 8, 32)
    hidden: tuple[int, ...] = (256, 64)
    activation: Activation = "tanh"
    epochs: int | None = None
    batch_size: int = 256
    learning_rate: float = 0.002
    neighbours: int = 10
    mapped: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1 or len(set(self.sizes)) < len(self.sizes):
            raise InputError(f"expected different sizes of 1 or more, got {self.sizes}")
        if self.neighbours < 1:
            raise InputError(f"expected 1 neighbour or more, got {self.neighbours}")

    def epochs_on(self, num_examples: int) -> int:
        """Passes over a training set of this size."""
        if self.epochs is not None:
            return self.epochs
        return max(20, -(-_FEWEST_STEPS // -(-num_examples // self.batch_size)))


class Reduced(NamedTuple):
    """What a method makes of the data: codes of both splits, and the test set decoded again."""

    method: str
    size: int
    train: Codes
    test: Codes
    decoded: Rows


class Reduction(NamedTuple):
    """The comparison, and what each method made of the data."""

    comparison: Comparison
    reduced: list[Reduced]


def reduce(
    dataset: Dataset,
    settings: ReduceSettings,
    *,
    mesh: Mesh | None = None,
    run_dir: Path | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Reduction:
    """Reduce a data set by autoencoders and by PCA, and measure what the codes keep.

    Args:
        dataset: Both learn on its training split without labels, and are measured on the test
            split.
        settings: Sizes, epochs, seed.
        mesh: The devices that share a batch.
        run_dir: A run of an autoencoder to compare with PCA of its code's size; else some are
            trained.
        log: Told of each method when it is done.
    """
    train, test = (_rows(split.images) for split in (dataset.train, dataset.test))
    reduced: list[Reduced] = []
    for name, config in _contenders(dataset, settings, run_dir):
        config, model = obtain(run_dir, config, dataset, mesh=mesh)
        assert isinstance(model, Autoencoder)
        reduced.append(_by_autoencoder(name, model, train, test))
        log(f"{name}, code of {reduced[-1].size}")
    for size in sorted({one.size for one in reduced}):
        reduced.append(_by_pca(size, train, test, settings.seed))
    reduced.sort(key=lambda one: one.size)
    rows = tuple(_measure(one, dataset, test, settings) for one in reduced)
    trained = "of the run" if run_dir else settings.epochs_on(len(train))
    comparison = Comparison(
        f"Dimensionality reduction on {dataset.name}",
        (
            Column("size", "size"),
            Column("method", "method"),
            Column("mse", "mean squared error (a pixel, of [0, 1])", "lower", 5),
            Column("knn_accuracy", f"{settings.neighbours}-NN accuracy (%)", "higher", 2),
            Column("trustworthiness", "trustworthiness", "higher", 4),
        ),
        rows,
        {
            "training images": len(train),
            "test images": len(test),
            "of these for trustworthiness": min(settings.mapped, len(test)),
            "neighbours": settings.neighbours,
            "epochs": trained,
            "seed": settings.seed,
        },
        (
            "Errors and accuracies on the test set; the classifier knows the training codes.",
            "Nothing was tuned on the test set; PCA has nothing to tune.",
        ),
        group="size",
    )
    return Reduction(comparison, reduced)


def plot_maps(path: Path, dataset: Dataset, reduction: Reduction, *, mapped: int = 2000) -> None:
    """Draw the test codes of the smallest size, one map a method, each as its class's digit.

    Codes of more than two dimensions are shown along their first two principal components.
    """
    size = min(one.size for one in reduction.reduced)
    shown = [one for one in reduction.reduced if one.size == size]
    rows = {row["method"]: row for row in reduction.comparison.rows if row["size"] == size}
    figure, axes = new_figure(1, len(shown), (5.2 * len(shown), 5.4))
    for axis, one in zip(axes[0], shown, strict=True):
        codes, labels = one.test[:mapped], dataset.test.labels[:mapped]
        plane = codes if size == 2 else principal_plane(codes)[0]
        scatter_classes(axis, plane, labels)
        accuracy = rows[one.method]["knn_accuracy"]
        axis.set_title(f"{one.method}\n(k-NN accuracy {accuracy:.1f} %)", fontsize=10)
        name = "code dimension" if size == 2 else "principal component of the code"
        axis.set_xlabel(f"first {name} (no unit)")
        axis.set_ylabel(f"second {name} (no unit)")
    figure.suptitle(
        f"{dataset.name} in {size} dimension{'s' if size > 1 else ''}: "
        f"{min(mapped, len(dataset.test.labels))} test images, each drawn as its class"
    )
    save_figure(figure, path)


def _contenders(
    dataset: Dataset, settings: ReduceSettings, run_dir: Path | None
) -> list[tuple[str, RunConfig]]:
    if run_dir is not None:
        config = read_config(run_dir / "config.json")
        name = f"autoencoder {_widths(config.model)} of the run"
        return [(name, config if isinstance(config.model, AutoencoderConfig) else _ANY)]
    train = TrainConfig(
        settings.epochs_on(len(dataset.train.labels)),
        min(settings.batch_size, len(dataset.train.labels)),
        settings.learning_rate,
        settings.seed,
    )
    contenders = []
    for size in settings.sizes:
        for model, rate in (
            (AutoencoderConfig(hidden=(size,)), 0.005),
            (AutoencoderConfig(hidden=(*settings.hidden, size), activation=settings.activation),
             settings.learning_rate),
        ):  # fmt: skip
            config = RunConfig(model, train, dataset.name).replace(learning_rate=rate)
            contenders.append((f"autoencoder {_widths(model)}", config))
    return contenders


# What a run of another kind of model is refused against.
_ANY = RunConfig(AutoencoderConfig(), TrainConfig(0, 1, 0.0, 0))


def _widths(model: Any) -> str:
    if not isinstance(model, AutoencoderConfig):
        return ""
    return f"{'-'.join(map(str, model.widths))} ({model.activation})"


def _by_autoencoder(name: str, model: Autoencoder, train: Rows, test: Rows) -> Reduced:
    codes = encode(model, test)
    return Reduced(name, codes.shape[1], encode(model, train), codes, decode(model, codes))


def _by_pca(size: int, train: Rows, test: Rows, seed: int) -> Reduced:
    from sklearn.decomposition import PCA

    if size > min(train.shape):
        raise InputError(f"expected a code of at most {min(train.shape)} dimensions, got {size}")
    fitted = PCA(size, svd_solver="randomized", random_state=seed).fit(train)
    codes = fitted.transform(test)
    decoded = np.clip(fitted.inverse_transform(codes), 0, 1)
    return Reduced("PCA", size, fitted.transform(train), codes, decoded)


def _measure(
    reduced: Reduced, dataset: Dataset, test: Rows, settings: ReduceSettings
) -> dict[str, Any]:
    from sklearn.manifold import trustworthiness
    from sklearn.neighbors import KNeighborsClassifier

    if reduced.decoded.shape != test.shape:
        raise InputError(f"expected {test.shape} decoded, got {reduced.decoded.shape}")
    neighbours = min(settings.neighbours, len(reduced.train))
    classifier = KNeighborsClassifier(neighbours).fit(reduced.train, dataset.train.labels)
    mapped = slice(min(settings.mapped, len(test)))
    few = min(settings.neighbours, max(1, len(test[mapped]) // 2 - 1))
    return {
        "size": reduced.size,
        "method": reduced.method,
        "mse": float(((reduced.decoded - test) ** 2).mean()),
        "knn_accuracy": 100 * float(classifier.score(reduced.test, dataset.test.labels)),
        "trustworthiness": float(
            trustworthiness(test[mapped], reduced.test[mapped], n_neighbors=few)
        ),
    }


def _rows(images: Int[np.ndarray, "n 28 28 1"]) -> Rows:
    return as_unit_float(images).reshape(len(images), -1)
