"""Feature extraction: classifiers and clusters on codes, on PCA's, and on the pixels."""

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxae.data.dataset import Dataset
from jaxae.data.pixels import as_unit_float
from jaxae.errors import InputError
from jaxae.network.apply import check_unconditional, encode
from jaxae.network.models import Model
from jaxae.plots import new_figure, save_figure
from jaxae.training.fit import fit
from jaxae.training.run_folder import load_run
from jaxae.usecases.recipe import describe, shared_recipes
from jaxae.usecases.report import Column, Comparison
from jaxae.usecases.source import SourceFlags

COLUMNS = (
    Column("features", "features"),
    Column("dimensions", "dimensions"),
    Column("logistic_regression", "logistic regression (%)", "higher", 2),
    Column("random_forest", "random forest (%)", "higher", 2),
    Column("neighbours", "5 nearest neighbours (%)", "higher", 2),
    Column("nmi", "k-means NMI", "higher", 3),
    Column("ari", "k-means ARI", "higher", 3),
)


@dataclass(frozen=True)
class Features:
    """What images of the two splits become."""

    train: Float[np.ndarray, "n features"]
    test: Float[np.ndarray, "m features"]


def run(
    flags: SourceFlags, *, also: Sequence[Path] = (), epochs: int | None = None, trees: int = 500
) -> Comparison:
    """Compare codes of runs, or of models trained now, with PCA's and pixels; print, write.

    Raises:
        InputError: If data, run or a file to write is not there, or a model is conditional.
    """
    dataset, mesh = flags.open(128)
    if trees < 1:
        raise InputError(f"expected 1 tree or more, got {trees}")
    models: dict[str, Model] = {}
    if flags.run_dir is not None:
        for run_dir in (flags.run_dir, *also):
            config, model = load_run(run_dir)
            models[describe(config)] = model
    else:
        for config in shared_recipes(dataset, epochs):
            print(f"training: {describe(config)}", file=sys.stderr)
            models[describe(config)] = fit(config, dataset, mesh=mesh, show_progress=True).model
    codes = {name: features_of(model, dataset) for name, model in models.items()}
    comparison = compare_features(codes, dataset, trees=trees)
    comparison.publish(flags.json)
    if flags.figure is not None:
        draw_features(flags.figure, comparison)
    return comparison


def features_of(model: Model, dataset: Dataset) -> Features:
    """Codes of both splits: the autoencoder's, or the plain VAE's means.

    Raises:
        InputError: If the model is conditional: its codes are computed with the label's help.
    """
    check_unconditional(model)
    return Features(*(encode(model, split.images) for split in (dataset.train, dataset.test)))


def compare_features(
    codes: dict[str, Features], dataset: Dataset, *, trees: int = 500, seed: int = 0
) -> Comparison:
    """Classify and cluster on each kind of features; classifiers learn from the training set.

    Args:
        codes: By the names that the table gives them.
        dataset: PCA-32 and the pixels are taken from it.
        trees: Of the random forest.
        seed: Of everything that draws.
    """
    kinds = codes | {"PCA-32": _principal(dataset, 32, seed), "pixels": _pixels(dataset)}
    rows = tuple(
        {
            "features": name,
            "dimensions": features.train.shape[1],
            **_classify(features, dataset, trees, seed),
            **_cluster(features, dataset, seed),
        }
        for name, features in kinds.items()
    )
    return Comparison(
        f"Features for classification and clustering on {dataset.name}",
        COLUMNS,
        rows,
        settings={
            "training images": len(dataset.train.labels),
            "test images": len(dataset.test.labels),
            "trees": trees,
            "seed": seed,
        },
        notes=(
            "Accuracies on the test set of classifiers at scikit-learn's defaults, trained on all "
            "training labels; logistic regression on standardised features, up to 300 iterations. "
            "No classifier was tuned on the test set.",
            f"k-means with {dataset.num_classes} clusters, best of 4 starts, on the training "
            "images; NMI and ARI of their clusters against their labels.",
        ),
    )


def draw_features(path: Path, comparison: Comparison) -> None:
    """Draw the test error of each classifier as bars, grouped by kind of features."""
    figure, axes = new_figure(1, 1, (9, 4))
    axis = axes[0, 0]
    classifiers = [column for column in COLUMNS if column.title.endswith("(%)")]
    shades = ("0.1", "0.4", "0.65", "0.85", "white")
    hatches = ("", "", "", "", "//")
    width = 0.8 / len(comparison.rows)
    for number, row in enumerate(comparison.rows):
        errors = [100 - row[column.key] for column in classifiers]
        places = np.arange(len(classifiers)) + (number - (len(comparison.rows) - 1) / 2) * width
        bars = axis.bar(
            places,
            errors,
            width,
            label=f"{row['features']} ({row['dimensions']})",
            color=shades[number % 5],
            hatch=hatches[number % 5],
            edgecolor="black",
        )
        axis.bar_label(bars, fmt="%.1f", fontsize=8)
    names = [column.title.removesuffix(" (%)") for column in classifiers]
    axis.set_xticks(np.arange(len(classifiers)), names)
    axis.set_ylabel("test error (%)")
    axis.set_title(comparison.title)
    axis.legend(fontsize=8)
    save_figure(figure, path)


def _principal(dataset: Dataset, size: int, seed: int) -> Features:
    from sklearn.decomposition import PCA

    pixels = _pixels(dataset)
    principal = PCA(size, random_state=seed).fit(pixels.train)
    return Features(principal.transform(pixels.train), principal.transform(pixels.test))


def _pixels(dataset: Dataset) -> Features:
    train, test = (
        as_unit_float(split.images).reshape(len(split.labels), -1)
        for split in (dataset.train, dataset.test)
    )
    return Features(train, test)


def _classify(features: Features, dataset: Dataset, trees: int, seed: int) -> dict[str, float]:
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


def _cluster(features: Features, dataset: Dataset, seed: int) -> dict[str, float]:
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    means = KMeans(dataset.num_classes, n_init=4, random_state=seed)  # pyright: ignore[reportArgumentType]
    clusters = means.fit_predict(features.train)
    labels = dataset.train.labels
    return {
        "nmi": float(normalized_mutual_info_score(labels, clusters)),
        "ari": float(adjusted_rand_score(labels, clusters)),
    }
