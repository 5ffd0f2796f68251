from collections.abc import Callable
from functools import cache

import jax
import numpy as np
import pytest
from flax import nnx

from jaxae import AUTOENCODER, CONDITIONAL_VAE, DivergenceError, InputError, fit, fit_many, load, load_run
from jaxae.config import RunConfig
from jaxae.data.dataset import Dataset, Split
from jaxae.training import step
from jaxae.training.fit import FitResult
from jaxae.training.many import load_models, save_many
from jaxae.training.runtime import default_device_count, divide_by_models, make_mesh

AE = AUTOENCODER.replace(hidden=(6,), batch_size=16, epochs=4, dtype="float64")
VAE = CONDITIONAL_VAE.replace(num_latent=3, batch_size=6, epochs=2, dtype="float64")


@pytest.fixture(scope="module")
def data() -> Dataset:
    digits = load("digits")
    return Dataset("digits", Split(*(a[:70] for a in digits.train)), Split(*(a[:20] for a in digits.test)), 10)


@pytest.fixture(scope="module")
def singles(data) -> Callable[[RunConfig, int], FitResult]:
    """The run of one configuration by itself, trained once for all that are compared with it."""
    return cache(lambda config, devices: fit(config, data, mesh=make_mesh(devices=devices)))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("config", "settings", "devices", "vectorised"),
    [
        # Both devices share each batch; one model on each; two of four devices on each.
        (AE, {"seeds": [3, 4, 5]}, 2, False),
        (AE, {"seeds": [3, 4, 5]}, 2, True),
        (AE.replace(replay="torch"), {"seeds": [3, 4]}, 2, False),
        (VAE, {"seeds": [7, 7], "betas": [1.0, 4.0], "learning_rates": [1e-3, 2e-3]}, 4, False),
        (VAE, {"seeds": [7, 7], "betas": [1.0, 4.0], "learning_rates": [1e-3, 2e-3]}, 4, True),
        # Two models on each device.
        (VAE.replace(epochs=1), {"seeds": [5, 6, 7, 8]}, 2, False),
    ],
)
def test_each_model_is_its_own_single_run(config, settings, devices, vectorised, data, singles, monkeypatch):
    if vectorised:  # as on a GPU
        monkeypatch.setattr(step, "for_each_model", lambda _, function, args: jax.vmap(function)(args))
    jax.clear_caches()  # of the other branch
    mesh = make_mesh(devices=devices)
    many = fit_many(config, data, mesh=mesh, **settings)
    count = len(settings["seeds"])
    for index in range(count):
        one = config.replace(
            seed=settings["seeds"][index],
            beta=settings.get("betas", [1.0] * count)[index],
            learning_rate=settings.get("learning_rates", [config.train.learning_rate] * count)[index],
        )
        single = singles(one, devices)
        own = jax.tree.map(lambda leaf: leaf[index], many.parameters)  # noqa: B023
        # Measured: 2e-15 of the largest; a batched product is summed in another order.
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-9 * np.abs(b).max()),
            own,
            single.state.parameters,
        )
        tests = [line["test_cost"] for line in single.metrics if "test_cost" in line]
        np.testing.assert_allclose(many.test.cost[index], tests, rtol=1e-9)
    first, second = (many.train.cost[index] for index in (0, 1))
    assert (first[1:] != second[1:]).all()


@pytest.mark.parametrize(
    ("models", "devices", "groups", "sharing"),
    [(1, 4, 1, 4), (2, 4, 2, 2), (3, 4, 1, 4), (4, 4, 4, 1), (6, 4, 2, 2), (8, 2, 2, 1)],
)
def test_devices_are_divided_by_models(models, devices, groups, sharing):
    mesh = divide_by_models(make_mesh(devices=devices), models)
    assert dict(mesh.shape) == {"model": groups, "data": sharing}


@pytest.mark.parametrize(
    ("batch_size", "available", "models", "count"),
    [(256, 4, 1, 4), (64, 4, 1, 2), (16, 4, 1, 1), (16, 4, 4, 4), (16, 4, 5, 1), (32, 6, 4, 4), (64, 8, 3, 6)],
)
def test_each_device_has_work(batch_size, available, models, count):
    assert default_device_count(batch_size, available, models) == count


def test_models_that_were_saved_are_loaded(data, tmp_path):
    config = AE.replace(epochs=1, dtype="float32")
    result = fit_many(config, data, seeds=[9, 10])
    save_many(tmp_path / "many", result, [9, 10])
    found = load_models(tmp_path / "many")
    assert [own.train.seed for own, _ in found] == [9, 10]
    for index, (_, model) in enumerate(found):
        for ours, saved in zip(*map(parameters_of, (result.model(index), model)), strict=True):
            np.testing.assert_array_equal(ours, saved)
    fit(config, data, run_dir=tmp_path / "one")
    ((own, model),) = load_models(tmp_path / "one")
    assert own == load_run(tmp_path / "one")[0]
    with pytest.raises(InputError, match="got no"):
        load_models(tmp_path / "none")
    with pytest.raises(InputError, match=r"expected the name of a new folder, got .*many"):
        save_many(tmp_path / "many", result, [9, 10])


def parameters_of(model) -> list[jax.Array]:
    return jax.tree.leaves(nnx.state(model))


def test_bad_sequences_and_divergence(data):
    with pytest.raises(InputError, match="expected one seed or more"):
        fit_many(AE, data, seeds=[])
    with pytest.raises(InputError, match="as many learning rates and betas as seeds, got 2, 3 and 3"):
        fit_many(AE, data, seeds=[1, 2, 3], learning_rates=[0.1, 0.2])
    with pytest.raises(InputError, match="batch size of at most the 70 training examples, got 71"):
        fit_many(AE.replace(batch_size=71), data, seeds=[1, 2])
    wild = AE.replace(dtype="float32")
    with pytest.raises(DivergenceError, match=r"step \d+ of seed 9"):
        fit_many(wild, data, seeds=[8, 9], learning_rates=[1e-3, 1e37])
