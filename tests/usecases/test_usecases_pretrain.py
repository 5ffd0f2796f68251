from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxae import AUTOENCODER, AutoencoderConfig, Dataset, InputError, Split, load
from jaxae.network.models import Autoencoder, build
from jaxae.usecases.pretrain import PretrainSettings, compare_pretraining, fine_tune
from jaxae.usecases.supervised import passes, train

CONFIG = AutoencoderConfig(hidden=(8,))


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def linear(parameters: dict, x: jax.Array) -> jax.Array:
    return x @ parameters["kernel"]


def test_training_many_at_once_equals_training_each(x64):
    generator = np.random.default_rng(0)
    inputs, labels = jnp.asarray(generator.normal(size=(40, 5))), jnp.asarray(np.arange(40) % 3)
    starts = jnp.asarray(generator.normal(size=(2, 5, 3)))
    orders = jnp.asarray(np.stack([passes(generator, 40, 8, 20) for _ in range(2)]))
    rates = jnp.asarray([0.01, 0.1])
    together = jax.vmap(lambda start, order, rate: train(linear, {"kernel": start}, inputs, labels, order, rate))(
        starts, orders, rates
    )["kernel"]
    for index in range(2):
        alone = train(linear, {"kernel": starts[index]}, inputs, labels, orders[index], rates[index])["kernel"]
        # 1e-15 measured.
        np.testing.assert_allclose(together[index], alone, atol=1e-12)
    assert not np.allclose(together[0], together[1], atol=0.1)


def test_passes_show_every_example_before_any_again():
    order = passes(np.random.default_rng(0), 10, 5, 5)
    assert order.shape == (5, 5)
    for rows in (order[:2], order[2:4]):
        assert sorted(rows.ravel()) == list(range(10))


def test_a_start_that_knows_the_labels_wins(digits, tmp_path: Path):
    """An encoder that already tells the digits apart must show; were it ignored, it would not."""
    settings = PretrainSettings(labels=(50,), seeds=2, learning_rates=(0.01,), steps=60)
    pixels = digits.train.images.reshape(-1, 784) / np.float32(255)
    classes = np.eye(10, dtype=np.float32)[digits.train.labels]
    centred = pixels - pixels.mean(0, keepdims=True)
    kernel = np.linalg.lstsq(centred.T @ centred + 30 * np.eye(784), centred.T @ classes, rcond=None)[0]
    config = AUTOENCODER.replace(hidden=(10,)).model
    model = build(config, rngs=nnx.Rngs(0))
    assert isinstance(model, Autoencoder)
    model.linear_1.kernel.set_value(jnp.asarray(20 * kernel, jnp.float32))
    comparison = compare_pretraining(model, digits, settings)
    scratch, pretrained = comparison.table.rows
    assert (scratch.start, pretrained.start) == ("from scratch", "pretrained")
    # 8 points measured.
    assert pretrained.mean > scratch.mean + 4
    assert comparison.table.wins(pretrained, comparison.table.columns[2])
    comparison.draw(tmp_path / "pretrain.png")
    assert (tmp_path / "pretrain.png").stat().st_size > 5_000


def test_outcomes_repeat_and_seeds_differ(digits):
    settings = PretrainSettings(seeds=2, learning_rates=(0.01, 1e-9), steps=100)
    first = fine_tune(CONFIG, None, digits, 100, settings)
    again = fine_tune(CONFIG, None, digits, 100, settings)
    assert first.test.shape == (2, 2)
    np.testing.assert_array_equal(first.test, again.test)
    assert first.test[0, 0] != first.test[1, 0]
    # A rate of nearly zero learns nothing.
    assert first.test[:, 0].min() > 0.4 > first.test[:, 1].max()


def test_more_labels_than_there_are_is_refused(digits):
    assert PretrainSettings().label_counts(digits) == [100, 1000]
    for count in (9, 1400):
        with pytest.raises(InputError, match=f"from 10 to 1150 labels, got {count}"):
            PretrainSettings(labels=(count,)).label_counts(digits)
    tiny = Dataset("tiny", Split(*(a[:30] for a in digits.train)), digits.test, 10)
    with pytest.raises(InputError, match="at least one"):
        PretrainSettings().label_counts(tiny)


def test_settings_out_of_range_are_refused():
    with pytest.raises(InputError, match="seeds"):
        PretrainSettings(seeds=0)
    for rates in ((), (0.1, -1.0)):
        with pytest.raises(InputError, match="expected learning_rates"):
            PretrainSettings(learning_rates=rates)
