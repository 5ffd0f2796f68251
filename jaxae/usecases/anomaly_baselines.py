"""The usual detectors of anomalies, trained on one class and tuned without seeing the test set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from jaxae.data.dataset import Dataset
from jaxae.data.pixels import as_unit_float
from jaxae.errors import InputError
from jaxae.usecases.novelty import Images, Score, Scores, smoothed_relative_error, squared_error
from jaxae.usecases.principal import fit_pca, rows_of

TUNING_IMAGES = 600
TUNING_CLASSES = 4


class Normal(NamedTuple):
    """Images of one class: those to train on, and those held out to set the threshold."""

    label: int
    train: UInt8[np.ndarray, "n 28 28 1"]
    held_out: UInt8[np.ndarray, "m 28 28 1"]


def split_classes(dataset: Dataset) -> list[Normal]:
    """The training images of each class, as many of each: one compiled program serves them all.

    The rarest class decides how many; a tenth of them are held out.
    """
    images, labels = dataset.train
    kinds, counts = np.unique(labels, return_counts=True)
    if len(kinds) < 2:
        raise InputError(f"expected two classes or more, got {len(kinds)} in {dataset.name}")
    if set(np.unique(dataset.test.labels)) != set(kinds):
        raise InputError("expected the same classes in the training and the test set")
    count = int(counts.min())
    held_out = max(1, count // 10)
    if count < 10:
        raise InputError(f"expected 10 images of each class or more, got {count}")
    chosen = ((int(kind), images[labels == kind][:count]) for kind in kinds)
    return [Normal(kind, own[held_out:], own[:held_out]) for kind, own in chosen]


def auroc(normal: Scores, anomalous: Float[np.ndarray, " m"]) -> float:
    """Chance that an anomaly scores higher than a normal image."""
    from sklearn.metrics import roc_auc_score

    truth = np.repeat([0, 1], [len(normal), len(anomalous)])
    return float(roc_auc_score(truth, np.concatenate([normal, anomalous])))


@dataclass(frozen=True)
class Baseline:
    """A detector, and the settings that it is tuned over.

    Attributes:
        name: Name of the method, {} standing for its score.
        make: Function that fits it to a class and gives its scores by name.
        grid: Values tried of each setting.
    """

    name: str
    make: Callable[..., dict[str, Score]]
    grid: Mapping[str, tuple[Any, ...]]

    def tune(self, normals: list[Normal], seed: int) -> dict[str, Any]:
        """The settings with the greatest mean AUROC on training images alone."""
        chosen = normals[:: max(1, len(normals) // TUNING_CLASSES)][:TUNING_CLASSES]
        tried = [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]
        return max(tried, key=lambda fixed: np.mean([self._trial(fixed, one, normals, seed) for one in chosen]))

    def _trial(self, fixed: dict[str, Any], normal: Normal, all_: list[Normal], seed: int) -> float:
        part = normal.train[: max(2, min(TUNING_IMAGES, len(normal.train) * 3 // 4))]
        own = normal.train[len(part) :][:TUNING_IMAGES]
        others = [other.held_out[:100] for other in all_ if other.label != normal.label]
        (score,) = self.make(Normal(normal.label, part, own), seed=seed, **fixed).values()
        return auroc(score(as_unit_float(own)), score(as_unit_float(np.concatenate(others))))


def _pca(normal: Normal, *, seed: int, size: int) -> dict[str, Score]:
    fitted = fit_pca(rows_of(normal.train), min(size, len(normal.train) - 1), seed=seed, solver="randomized")

    def decoded(images: Images) -> Images:
        back = fitted.inverse_transform(fitted.transform(rows_of(images)))
        return np.asarray(back, np.float32).reshape(images.shape)

    return {
        "squared error": lambda images: squared_error(images, decoded(images)),
        "smoothed relative error": lambda images: smoothed_relative_error(images, decoded(images)),
    }


def _one_pca(normal: Normal, *, seed: int, size: int, score: str) -> dict[str, Score]:
    return {score: _pca(normal, seed=seed, size=size)[score]}


def _forest(normal: Normal, *, seed: int, max_features: float) -> dict[str, Score]:
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(n_estimators=200, max_features=max_features, random_state=seed)
    forest.fit(rows_of(normal.train))
    return {"": lambda images: -forest.score_samples(rows_of(images))}


def _one_class_svm(normal: Normal, *, seed: int, nu: float, gamma: Any) -> dict[str, Score]:
    from sklearn.svm import OneClassSVM

    machine = OneClassSVM(nu=nu, gamma=gamma).fit(rows_of(normal.train))
    return {"": lambda images: -machine.decision_function(rows_of(images))}


def _nearest(normal: Normal, *, seed: int, neighbours: int) -> dict[str, Score]:
    from sklearn.neighbors import NearestNeighbors

    known = NearestNeighbors(n_neighbors=neighbours, algorithm="brute")
    known.fit(rows_of(normal.train))
    return {"": lambda images: known.kneighbors(rows_of(images))[0].mean(1)}


_SIZES = (8, 16, 32, 64)
BASELINES = (
    Baseline("PCA, {}", _one_pca, {"score": ("squared error",), "size": _SIZES}),
    Baseline("PCA, {}", _one_pca, {"score": ("smoothed relative error",), "size": _SIZES}),
    Baseline("Isolation Forest", _forest, {"max_features": (0.05, 0.2, 1.0)}),
    Baseline("one-class SVM", _one_class_svm, {"nu": (0.02, 0.1), "gamma": (0.005, 0.01, 0.02, 0.04)}),
    Baseline("distance to nearest neighbours", _nearest, {"neighbours": (1, 3, 5)}),
)
