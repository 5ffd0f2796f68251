from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from jaxae import AUTOENCODER, CONDITIONAL_VAE, Dataset, InputError, Split, load
from jaxae.network.models import build
from jaxae.usecases.features import FeatureSet, compare_features, features_of
from jaxae.usecases.recipe import describe, shared_recipes


@pytest.fixture(scope="module")
def few() -> Dataset:
    digits = load("digits")
    train, test = (Split(*(array[:300] for array in s)) for s in (digits.train, digits.test))
    return Dataset("few", train, test, 10)


def test_telling_features_win_and_noise_does_not(few, tmp_path: Path):
    generator = np.random.default_rng(0)

    def told(labels: np.ndarray) -> np.ndarray:
        return np.eye(10)[labels] + 0.1 * generator.normal(size=(len(labels), 10))

    telling = FeatureSet(told(few.train.labels), told(few.test.labels))
    noise = FeatureSet(generator.normal(size=(300, 10)), generator.normal(size=(300, 10)))
    comparison = compare_features({"telling": telling, "noise": noise}, few, trees=20)
    rows = {row.features: row for row in comparison.table.rows}
    for key in ("logistic_regression", "random_forest", "neighbours"):
        assert getattr(rows["telling"], key) > 99
        assert getattr(rows["noise"], key) < 25
        assert getattr(rows["noise"], key) < getattr(rows["PCA-32"], key) < getattr(rows["telling"], key)
    assert rows["telling"].nmi > 0.99
    assert rows["noise"].ari < 0.05
    assert rows["pixels"].dimensions == 784
    comparison.draw(tmp_path / "features.png")
    assert (tmp_path / "features.png").stat().st_size > 5_000


def test_features_are_the_code_of_each_split(few):
    model = build(AUTOENCODER.model, rngs=nnx.Rngs(0))
    features = features_of(model, few)
    assert features.train.shape == (300, 32)
    own = np.asarray(model.encode(few.test.images[:3] / np.float32(255)))
    np.testing.assert_allclose(features.test[:3], own, rtol=1e-5, atol=1e-5)


def test_a_conditional_model_would_leak_the_label(few):
    model = build(CONDITIONAL_VAE.model, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="conditioned"):
        features_of(model, few)


def test_recipes_are_named_apart(few):
    names = [describe(config) for config in shared_recipes(few, epochs=3)]
    assert names[0] == "the post's AE 784-32, 3 epochs"
    assert len(set(names)) == 3
