import json
from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from jaxae.config import AUTOENCODER, CONDITIONAL_VAE
from jaxae.data.dataset import Dataset, Split, load
from jaxae.data.pixels import as_unit_float
from jaxae.errors import InputError
from jaxae.training.run_folder import save_weights
from jaxae.training.schedule import make_schedule
from jaxae.usecases.model_source import load_or_train
from jaxae.usecases.reduce import ReduceSettings, Reduction, reduce


@pytest.fixture(scope="module", autouse=True)
def one_blas_thread() -> Iterator[None]:
    """Many threads on small matrices spin, and take minutes beside other work."""
    with threadpool_limits(limits=1):
        yield


@pytest.fixture(scope="module")
def digits() -> Dataset:
    full = load("digits")
    return Dataset("digits", full.train, Split(full.test.images[:200], full.test.labels[:200]), 10)


@pytest.fixture(scope="module")
def reduction(digits: Dataset) -> Reduction:
    return reduce(digits, ReduceSettings(sizes=(2,), hidden=(64,), epochs=60, batch_size=32))


def test_deep_codes_beat_pca_in_two_dimensions(reduction):
    shallow, deep, pca = reduction.table.rows
    assert [row.size for row in reduction.table.rows] == [2, 2, 2]
    assert pca.method == "PCA"
    assert deep.method == "autoencoder 784-64-2-64-784 (tanh)"
    for figure, sign in (("mse", -1), ("knn_accuracy", 1), ("trustworthiness", 1)):
        assert sign * getattr(deep, figure) > sign * getattr(pca, figure), figure
    assert shallow.mse > deep.mse


def test_pca_is_scikit_learns(reduction, digits):
    train, test = (as_unit_float(split.images).reshape(len(split.images), -1) for split in (digits.train, digits.test))
    exact = PCA(2, svd_solver="covariance_eigh").fit(train)
    decoded = np.clip(exact.inverse_transform(exact.transform(test)), 0, 1)
    expected = ((decoded - test) ** 2).mean()
    row = reduction.table.rows[-1]
    assert row.mse == pytest.approx(expected, rel=1e-3)  # randomized solver: 1e-5 measured


def test_figures_are_of_these_codes(reduction, digits):
    deep = reduction.reduced[1]
    test = as_unit_float(digits.test.images).reshape(200, -1)
    assert deep.train.shape == (len(digits.train.labels), 2)
    assert deep.test.shape == (200, 2)
    error = ((deep.decoded - test) ** 2).mean()
    assert reduction.table.rows[1].mse == pytest.approx(error, rel=1e-6)


def test_draws_maps(reduction, tmp_path):
    reduction.draw(tmp_path / "maps.png")
    assert (tmp_path / "maps.png").stat().st_size > 10000


def test_takes_a_run_and_refuses_others(digits, tmp_path):
    config = AUTOENCODER.replace(epochs=0, batch_size=32, hidden=(3,))
    load_or_train(None, config, digits, keep=tmp_path / "run")
    rows = reduce(digits, ReduceSettings(run_dir=tmp_path / "run")).table.rows
    assert [(row.size, row.method) for row in rows] == [
        (3, "autoencoder 784-3-784 (leaky_relu) of the run"),
        (3, "PCA"),
    ]
    # An untrained network decodes grey: PCA must win here.
    assert rows[0].mse > rows[1].mse
    (tmp_path / "vae").mkdir()
    other = CONDITIONAL_VAE.replace(epochs=0)
    parameters = make_schedule(other, 128).init_parameters()
    save_weights(tmp_path / "vae" / "weights.safetensors", other, parameters)
    (tmp_path / "vae" / "config.json").write_text(json.dumps(other.to_json()))
    with pytest.raises(InputError, match=r"a run of AutoencoderConfig, got .* ConditionalVAEConfig"):
        reduce(digits, ReduceSettings(run_dir=tmp_path / "vae"))


@pytest.mark.parametrize("sizes", [(), (0,), (2, 2)])
def test_refuses_bad_sizes(sizes):
    with pytest.raises(InputError, match=r"different sizes|sizes of 1 to 1000 members|sizes from 1 to"):
        ReduceSettings(sizes=sizes)


def test_epochs_suit_the_size_of_the_data():
    assert ReduceSettings().epochs_on(60000) == 20
    assert ReduceSettings().epochs_on(1437) * 6 >= 1000
    assert ReduceSettings(epochs=3).epochs_on(1437) == 3
    with pytest.raises(InputError, match=r"expected neighbours from 1 to .*, got 0"):
        ReduceSettings(neighbours=0)
