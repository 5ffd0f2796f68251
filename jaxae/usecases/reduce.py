"""Dimensionality reduction: codes of a few dimensions, beside PCA of the same size."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from jaxae.bounds import Amount, Count, CountOrZero, Range, Seed, Widths, told
from jaxae.cli import default
from jaxae.config import Activation, AutoencoderConfig, RunConfig, TrainConfig
from jaxae.data.dataset import Dataset
from jaxae.errors import InputError
from jaxae.network.apply import decode, encode
from jaxae.network.models import Autoencoder
from jaxae.storage.figures import save_figure
from jaxae.training.checks import check_training
from jaxae.training.plots import new_figure, principal_plane, scatter_classes
from jaxae.usecases.method_table import MethodTable, Shown, columns_of, tell
from jaxae.usecases.model_source import UseCaseSettings, load_or_train
from jaxae.usecases.principal import fit_pca, rows_of
from jaxae.usecases.recipe import enough_epochs

Rows = Float[np.ndarray, "n pixels"]
Codes = Float[np.ndarray, "n code"]


@dataclass(frozen=True, kw_only=True)
class ReduceSettings(UseCaseSettings):
    """What is compared, and how it is measured; a run is one of a plain autoencoder.

    Attributes:
        sizes: Numbers of dimensions of the codes.
        hidden: Widths of the deep autoencoder's layers between the input and the code.
        activation: Activation of the deep autoencoder. tanh spreads codes over (-1, 1), where the post's leaky_relu
            shrinks their negative half to a hundredth.
        epochs: Number of passes over the training set.
        batch_size: Number of examples per step.
        learning_rate: Adam's learning rate for the deep autoencoder; the shallow one's is the post's.
        neighbours: Number of neighbours of the k-NN classifier, and of the trustworthiness.
        mapped: Number of test images for the trustworthiness and the map; the time grows with its square.
        seed: Seed of weights and order, and of PCA.
    """

    sizes: Widths = (2, 8, 32)
    hidden: Widths = (256, 64)
    activation: Activation = "tanh"
    epochs: Annotated[CountOrZero | None, default("20, and at least 1,000 steps", "INT")] = None
    batch_size: Count = 256
    learning_rate: Amount = 0.002
    neighbours: Count = 10
    mapped: Annotated[int, Range(3, 2**31 - 1)] = 2000  # two have no neighbourhood to trust
    seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.sizes)) < len(self.sizes):
            raise InputError(f"expected different sizes, got {told(self.sizes)}")

    def epochs_on(self, num_examples: int) -> int:
        """Number of passes over a training set of this size."""
        return enough_epochs(num_examples, self.batch_size, 1000) if self.epochs is None else self.epochs


@dataclass(frozen=True)
class ReductionRow:
    """A method's figures at one size of the code."""

    size: Annotated[int, Shown("size")]
    method: Annotated[str, Shown("method")]
    mse: Annotated[float, Shown("mean squared error (per pixel, of [0, 1])", "lower", 5)]
    knn_accuracy: Annotated[float, Shown("k-NN accuracy (%)", "higher", 2)]
    trustworthiness: Annotated[float, Shown("trustworthiness", "higher")]


class ReducedSet(NamedTuple):
    """What a method makes of the data: codes of both splits, and the test set decoded again."""

    method: str
    size: int
    train: Codes
    test: Codes
    decoded: Rows


@dataclass(frozen=True, eq=False)
class Reduction:
    """The methods side by side, and what each made of the data.

    Attributes:
        mapped: Number of test images in the figure.
    """

    table: MethodTable[ReductionRow]
    reduced: list[ReducedSet]
    dataset: Dataset
    mapped: int

    def draw(self, path: Path) -> None:
        """Draw the test codes of the smallest size, a map for each method, by class.

        Codes of more than two dimensions are shown along their first two principal components.
        """
        size = min(one.size for one in self.reduced)
        shown = [one for one in self.reduced if one.size == size]
        accuracies = {row.method: row.knn_accuracy for row in self.table.rows if row.size == size}
        figure, axes = new_figure(1, len(shown), (5.2 * len(shown), 5.4))
        labels = self.dataset.test.labels[: self.mapped]
        name = "code dimension" if size == 2 else "principal component of the code"
        for axis, one in zip(axes[0], shown, strict=True):
            codes = one.test[: self.mapped]
            scatter_classes(axis, codes if size == 2 else principal_plane(codes)[0], labels)
            axis.set_title(f"{one.method}\n(k-NN accuracy {accuracies[one.method]:.1f} %)", fontsize=10)
            axis.set(xlabel=f"first {name} (no unit)", ylabel=f"second {name} (no unit)")
        figure.suptitle(
            f"{self.dataset.name} in {size} dimension{'s' if size > 1 else ''}: "
            f"{len(labels)} test images, each drawn as its class"
        )
        save_figure(figure, path)


def run(settings: ReduceSettings) -> Reduction:
    """Load the data, and compare autoencoders, trained now or of a run, with PCA.

    Raises:
        InputError: If data, run or a file to write is not there, or a size is too large.
    """
    dataset, mesh = settings.open(settings.batch_size)
    return reduce(dataset, settings, mesh=mesh)


def reduce(dataset: Dataset, settings: ReduceSettings, *, mesh: Mesh | None = None) -> Reduction:
    """Reduce a data set by autoencoders and by PCA, and measure what the codes keep.

    All learn on the training split without labels, and are measured on the test split. Standard error is told of
    each autoencoder that is done.
    """
    train, test = rows_of(dataset.train.images), rows_of(dataset.test.images)
    reduced: list[ReducedSet] = []
    for config in _trainings(dataset, settings):  # before the minutes that the first takes
        check_training(config, dataset, mesh)
    if settings.model_dir is None:
        _check_size(max(settings.sizes), train)
    for config in _trainings(dataset, settings):
        _, model = load_or_train(settings.model_dir, config, dataset, mesh=mesh)
        assert isinstance(model, Autoencoder)
        name = f"autoencoder {'-'.join(map(str, model.config.widths))} ({model.config.activation})"
        name += " of the run" if settings.model_dir else ""
        codes = encode(model, test)
        reduced.append(ReducedSet(name, codes.shape[1], encode(model, train), codes, decode(model, codes)))
        tell(f"{name}, code of {reduced[-1].size}")
    reduced += [_by_pca(size, train, test, settings.seed) for size in sorted({one.size for one in reduced})]
    reduced.sort(key=lambda one: one.size)
    table = MethodTable(
        f"Dimensionality reduction on {dataset.name}",
        columns_of(ReductionRow, knn_accuracy=f"{settings.neighbours}-NN accuracy (%)"),
        tuple(_measure(one, dataset, test, settings) for one in reduced),
        {
            "training images": len(train),
            "test images": len(test),
            "of these for trustworthiness": min(settings.mapped, len(test)),
            "neighbours": settings.neighbours,
            "epochs": "of the run" if settings.model_dir else settings.epochs_on(len(train)),
            "seed": settings.seed,
        },
        (
            "Errors and accuracies on the test set; the classifier knows the training codes.",
            "Nothing was tuned on the test set; PCA has nothing to tune.",
        ),
        group="size",
    )
    return Reduction(table, reduced, dataset, settings.mapped)


def _trainings(dataset: Dataset, settings: ReduceSettings) -> list[RunConfig]:
    """A shallow and a deep autoencoder of each size; for a run, one training that tells its kind."""
    count = len(dataset.train.labels)
    batch_size = min(settings.batch_size, count)
    train = TrainConfig(settings.epochs_on(count), batch_size, settings.learning_rate, settings.seed)
    pixels = dataset.num_features
    if settings.model_dir is not None:
        return [RunConfig(AutoencoderConfig(pixels), train, dataset.name)]
    configs = []
    for size in settings.sizes:
        deep = AutoencoderConfig(pixels, (*settings.hidden, size), settings.activation)
        post = AutoencoderConfig(pixels, (size,))
        configs.append(RunConfig(post, train, dataset.name).replace(learning_rate=0.005))
        configs.append(RunConfig(deep, train, dataset.name))
    return configs


def _by_pca(size: int, train: Rows, test: Float[np.ndarray, "m pixels"], seed: int) -> ReducedSet:
    _check_size(size, train)
    fitted = fit_pca(train, size, seed=seed, solver="randomized")
    codes = fitted.transform(test)
    return ReducedSet("PCA", size, fitted.transform(train), codes, np.clip(fitted.inverse_transform(codes), 0, 1))


def _check_size(size: int, train: Rows) -> None:
    if size > min(train.shape):
        raise InputError(f"expected a code of at most {min(train.shape)} dimensions, as PCA has, got {size}")


def _measure(reduced: ReducedSet, dataset: Dataset, test: Rows, settings: ReduceSettings) -> ReductionRow:
    from sklearn.manifold import trustworthiness
    from sklearn.neighbors import KNeighborsClassifier

    neighbours = min(settings.neighbours, len(reduced.train))
    classifier = KNeighborsClassifier(neighbours).fit(reduced.train, dataset.train.labels)
    mapped = slice(min(settings.mapped, len(test)))
    few = min(settings.neighbours, max(1, len(test[mapped]) // 2 - 1))
    return ReductionRow(
        reduced.size,
        reduced.method,
        mse=float(((reduced.decoded - test) ** 2).mean()),
        knn_accuracy=100 * float(classifier.score(reduced.test, dataset.test.labels)),
        trustworthiness=float(trustworthiness(test[mapped], reduced.test[mapped], n_neighbors=few)),
    )
