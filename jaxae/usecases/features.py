"""Feature extraction: classifiers and clusters on codes, on PCA's, and on the pixels."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxae.bounds import CountOrZero, Range, Seed
from jaxae.cli import default
from jaxae.data.dataset import Dataset
from jaxae.network.apply import encode
from jaxae.network.models import Model
from jaxae.storage.figures import save_figure
from jaxae.training.plots import new_figure
from jaxae.training.run_folder import run_files
from jaxae.usecases.method_table import MethodTable, Shown, columns_of
from jaxae.usecases.model_source import UseCaseSettings
from jaxae.usecases.principal import fit_pca, rows_of
from jaxae.usecases.recipe import models_to_compare


@dataclass(frozen=True, kw_only=True)
class FeatureSettings(UseCaseSettings):
    """What is compared; a run is one of an autoencoder or a plain VAE.

    Attributes:
        also: Folders of further runs for the table.
        epochs: Number of passes over the training set of models that are trained.
        trees: Number of trees in the random forest.
        seed: Seed of all random draws.
    """

    also: Annotated[tuple[Path, ...], default("none")] = ()
    epochs: Annotated[CountOrZero | None, default("each model's own", "INT")] = None
    trees: Annotated[int, Range(1, 1_000_000)] = 500
    seed: Seed = 0

    def inputs(self) -> list[Path]:
        """What is read, so that no output may replace it."""
        return [*super().inputs(), *run_files(*self.also)]


class FeatureSet(NamedTuple):
    """What images of the two splits become."""

    train: Float[np.ndarray, "n features"]
    test: Float[np.ndarray, "m features"]


@dataclass(frozen=True)
class FeatureRow:
    """What classifiers and clusters make of one kind of features; accuracies in percent."""

    features: Annotated[str, Shown("features")]
    dimensions: Annotated[int, Shown("dimensions")]
    logistic_regression: Annotated[float, Shown("logistic regression (%)", "higher", 2)]
    random_forest: Annotated[float, Shown("random forest (%)", "higher", 2)]
    neighbours: Annotated[float, Shown("5 nearest neighbours (%)", "higher", 2)]
    nmi: Annotated[float, Shown("k-means NMI", "higher", 3)]
    ari: Annotated[float, Shown("k-means ARI", "higher", 3)]


@dataclass(frozen=True)
class FeatureComparison:
    """Kinds of features side by side."""

    table: MethodTable[FeatureRow]

    def draw(self, path: Path) -> None:
        """Draw the test error of each classifier as bars, grouped by kind of features."""
        figure, axes = new_figure(1, 1, (9, 4))
        axis = axes[0, 0]
        classifiers = [column for column in self.table.columns if column.title.endswith("(%)")]
        fills = (("0.1", ""), ("0.4", ""), ("0.65", ""), ("0.85", ""), ("white", "//"))
        rows = self.table.rows
        width = 0.8 / len(rows)
        for number, (row, (shade, hatch)) in enumerate(zip(rows, cycle(fills), strict=False)):
            errors = [100 - getattr(row, column.key) for column in classifiers]
            places = np.arange(len(classifiers)) + (number - (len(rows) - 1) / 2) * width
            label = f"{row.features} ({row.dimensions})"
            bars = axis.bar(places, errors, width, label=label, color=shade, hatch=hatch, edgecolor="black")
            axis.bar_label(bars, fmt="%.1f", fontsize=8)
        names = [column.title.removesuffix(" (%)") for column in classifiers]
        axis.set_xticks(np.arange(len(classifiers)), names)
        axis.set(ylabel="test error (%)", title=self.table.title)
        axis.legend(fontsize=8)
        save_figure(figure, path)


def run(settings: FeatureSettings) -> FeatureComparison:
    """Compare codes of runs, or of models trained now, with PCA's and pixels.

    Raises:
        InputError: If data, run or a file to write is not there, or a model is conditional.
    """
    dataset, mesh = settings.open(128)
    models = models_to_compare(settings, settings.also, dataset, mesh, settings.epochs)
    codes = {name: features_of(model, dataset) for name, (_, model) in models.items()}
    return compare_features(codes, dataset, trees=settings.trees, seed=settings.seed)


def features_of(model: Model, dataset: Dataset) -> FeatureSet:
    """Codes of both splits: the autoencoder's, or the plain VAE's means.

    Raises:
        InputError: If the model is conditional: its codes are computed with the label's help.
    """
    return FeatureSet(encode(model, dataset.train.images), encode(model, dataset.test.images))


def compare_features(
    codes: Mapping[str, FeatureSet], dataset: Dataset, *, trees: int = 500, seed: int = 0
) -> FeatureComparison:
    """Classify and cluster on each kind of features, by the names that the table gives them, on PCA-32 and pixels.

    Classifiers, of which the random forest has so many trees, learn from the training set.
    """
    pixels = FeatureSet(rows_of(dataset.train.images), rows_of(dataset.test.images))
    principal = fit_pca(pixels.train, 32, seed=seed, solver="auto")
    kinds = {**codes, "PCA-32": FeatureSet(*map(principal.transform, pixels)), "pixels": pixels}
    rows = tuple(
        FeatureRow(name, one.train.shape[1], **_classify(one, dataset, trees, seed), **_cluster(one, dataset, seed))
        for name, one in kinds.items()
    )
    table = MethodTable(
        f"Features for classification and clustering on {dataset.name}",
        columns_of(FeatureRow),
        rows,
        settings={
            "training images": len(dataset.train.labels),
            "test images": len(dataset.test.labels),
            "trees": trees,
            "seed": seed,
        },
        notes=(
            "Accuracies on the test set of classifiers at scikit-learn's defaults, trained on all training labels; "
            "logistic regression on standardised features, up to 300 iterations. No classifier was tuned on the test "
            "set.",
            f"k-means with {dataset.num_classes} clusters, best of 4 starts, on the training images; NMI and ARI of "
            "their clusters against their labels.",
        ),
    )
    return FeatureComparison(table)


def _classify(features: FeatureSet, dataset: Dataset, trees: int, seed: int) -> dict[str, float]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifiers: dict[str, Any] = {
        "logistic_regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
        "random_forest": RandomForestClassifier(trees, random_state=seed, n_jobs=-1),
        "neighbours": KNeighborsClassifier(5),
    }
    accuracies = {}
    for name, classifier in classifiers.items():
        with warnings.catch_warnings():
            # The iterations are the table's stated budget.
            warnings.simplefilter("ignore", ConvergenceWarning)
            classifier.fit(features.train, dataset.train.labels)
        accuracies[name] = 100 * float(classifier.score(features.test, dataset.test.labels))
    return accuracies


def _cluster(features: FeatureSet, dataset: Dataset, seed: int) -> dict[str, float]:
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    means = KMeans(dataset.num_classes, n_init=4, random_state=seed)  # pyright: ignore[reportArgumentType]
    pair = (dataset.train.labels, means.fit_predict(features.train))
    return {"nmi": float(normalized_mutual_info_score(*pair)), "ari": float(adjusted_rand_score(*pair))}
