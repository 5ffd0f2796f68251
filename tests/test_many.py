import jax
import numpy as np
import pytest

from jaxae import AUTOENCODER, CONDITIONAL_VAE, DivergenceError, InputError, fit, fit_many, load
from jaxae.data import Dataset, Split
from jaxae.runtime import make_mesh

AE = AUTOENCODER.replace(hidden=(6,), batch_size=16, epochs=4, dtype="float64")
VAE = CONDITIONAL_VAE.replace(num_latent=3, batch_size=6, epochs=2, dtype="float64")


@pytest.fixture(scope="module")
def data() -> Dataset:
    digits = load("digits")
    return Dataset("digits", Split(*(a[:70] for a in digits.train)),
                   Split(*(a[:20] for a in digits.test)), 10)  # fmt: skip


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (AE, {"seeds": [3, 4, 5]}),
        (AE.replace(replay="torch"), {"seeds": [3, 4]}),
        (VAE, {"seeds": [7, 7], "betas": [1.0, 4.0], "learning_rates": [1e-3, 2e-3]}),
    ],
)
def test_each_model_is_its_own_single_run(config, settings, data):
    mesh = make_mesh(devices=2)
    many = fit_many(config, data, mesh=mesh, **settings)
    count = len(settings["seeds"])
    for index in range(count):
        one = config.replace(
            seed=settings["seeds"][index],
            beta=settings.get("betas", [1.0] * count)[index],
            learning_rate=settings.get("learning_rates", [config.train.learning_rate] * count)[
                index
            ],
        )
        single = fit(one, data, mesh=mesh)
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


def test_bad_sequences_and_divergence(data):
    with pytest.raises(InputError, match="expected one seed or more"):
        fit_many(AE, data, seeds=[])
    with pytest.raises(
        InputError, match="as many learning rates and betas as seeds, got 2, 3 and 3"
    ):
        fit_many(AE, data, seeds=[1, 2, 3], learning_rates=[0.1, 0.2])
    wild = AE.replace(dtype="float32")
    with pytest.raises(DivergenceError, match=r"step \d+ of seed 9"):
        fit_many(wild, data, seeds=[8, 9], learning_rates=[1e-3, 1e37])
