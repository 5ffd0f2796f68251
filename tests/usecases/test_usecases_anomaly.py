import sys
from collections.abc import Iterator
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands.flags import main_of
from flax import nnx
from threadpoolctl import threadpool_limits

from jaxae.cli import run
from jaxae.config import AUTOENCODER, AutoencoderConfig, ConditionalVAEConfig
from jaxae.data.dataset import Dataset, Split, load
from jaxae.data.pixels import as_unit_float
from jaxae.errors import InputError
from jaxae.network.apply import reconstruct, score
from jaxae.network.losses import bce_from_probabilities, kl_from_standard_normal
from jaxae.network.models import Autoencoder, ConditionalVAE, build
from jaxae.usecases import anomaly
from jaxae.usecases.anomaly import AnomalySettings, Detection, detect
from jaxae.usecases.anomaly_baselines import auroc, split_classes
from jaxae.usecases.model_source import load_or_train
from jaxae.usecases.novelty import smoothed_relative_error, squared_error, threshold


@pytest.fixture(scope="module", autouse=True)
def one_blas_thread() -> Iterator[None]:
    """Many threads on small matrices spin, and take minutes beside other work."""
    with threadpool_limits(limits=1):
        yield


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="module")
def three(digits: Dataset) -> Dataset:
    """The digits 0, 1 and 7 alone."""

    def keep(split: Split) -> Split:
        chosen = np.isin(split.labels, [0, 1, 7])
        return Split(split.images[chosen], split.labels[chosen])

    return Dataset("digits", keep(digits.train), keep(digits.test), 10)


@pytest.fixture(scope="module")
def images(digits: Dataset) -> np.ndarray:
    return as_unit_float(digits.test.images[:21])


class TestScores:
    def test_squared_error(self):
        images = np.zeros((2, 28, 28, 1), np.float32)
        other = images.copy()
        other[1, 3, 4] = 0.5
        assert squared_error(images, other).tolist() == [0, 0.25]

    def test_smoothing_forgives_a_shift_and_not_a_loss(self):
        stroke = np.zeros((1, 28, 28, 1), np.float32)
        stroke[0, 5:23, 14] = 1
        shifted, lost = np.roll(stroke, 1, axis=2), np.zeros_like(stroke)
        assert squared_error(stroke, shifted) > squared_error(stroke, lost)
        shift = smoothed_relative_error(stroke, shifted)
        assert shift < 0.5 * smoothed_relative_error(stroke, lost)

    def test_is_relative(self, images):
        scores = smoothed_relative_error(images, np.zeros_like(images))
        assert np.allclose(smoothed_relative_error(0.5 * images, 0 * images), scores, rtol=1e-5)

    def test_blank_image_is_finite(self):
        blank = np.zeros((1, 28, 28, 1), np.float32)
        assert smoothed_relative_error(blank, blank) == 0

    @pytest.mark.usefixtures("unchecked")
    def test_shapes_are_compared(self, images):
        for measure in (squared_error, smoothed_relative_error):
            with pytest.raises(InputError, match="of one shape"):
                measure(images, images[:1])

    def test_autoencoder_scores_are_those_of_its_forward_pass(self, images):
        model = Autoencoder(AutoencoderConfig(hidden=(5,)), rngs=nnx.Rngs(0))
        output = model(jnp.asarray(images))
        decoded = np.asarray(output.reconstruction).reshape(images.shape)
        assert np.allclose(reconstruct(model, images), decoded, atol=1e-6)
        expected = bce_from_probabilities(output.reconstruction, jnp.asarray(images.reshape(21, -1)))
        assert np.allclose(score(model, images), expected, rtol=1e-5)

    def test_negative_elbo_is_the_mean_over_draws(self, images):
        config = ConditionalVAEConfig(num_latent=3, num_classes=0)
        model = ConditionalVAE(config, rngs=nnx.Rngs(0))
        key = jax.random.key(5)
        bounds = []
        for eps in jax.random.normal(key, (4, 3)):
            output = model(jnp.asarray(images), eps=jnp.tile(eps[None], (21, 1)))
            kl = kl_from_standard_normal(output.mean, output.log_var)
            bounds.append(bce_from_probabilities(output.reconstruction, jnp.asarray(images)) + kl)
        scores = score(model, images, key=key, draws=4)
        assert np.allclose(scores, np.mean(bounds, axis=0), rtol=1e-5)
        conditional = build(ConditionalVAEConfig(num_latent=3), rngs=nnx.Rngs(0))
        with pytest.raises(InputError, match="got one conditioned on 10 classes"):
            score(conditional, images, key=key)

    def test_threshold_flags_the_wanted_share(self):
        scores = np.random.default_rng(0).normal(size=1000)
        assert (scores > threshold(scores, 0.03)).mean() == pytest.approx(0.03)
        with pytest.raises(InputError, match="contamination above 0 and below 1, got 1"):
            threshold(scores, 1)

    def test_auroc(self):
        assert auroc(np.array([1.0, 2]), np.array([3.0, 4])) == 1
        assert auroc(np.array([3.0, 4]), np.array([1.0, 2])) == 0
        assert auroc(np.array([1.0, 1]), np.array([1.0])) == 0.5


class TestSplit:
    def test_gives_each_class_as_many_and_holds_some_out(self, three):
        split = split_classes(three)
        assert [one.label for one in split] == [0, 1, 7]
        assert {(len(one.train), len(one.held_out)) for one in split} == {(128, 14)}
        own = three.train.images[three.train.labels == 7]
        both = np.concatenate([split[2].held_out, split[2].train])
        assert np.array_equal(both, own[: len(both)])

    def test_refuses_what_cannot_be_compared(self, three):
        one = three.train.labels == 7
        lone = Split(three.train.images[one], three.train.labels[one])
        with pytest.raises(InputError, match="two classes or more, got 1"):
            split_classes(replace(three, train=lone, test=lone))
        with pytest.raises(InputError, match="same classes"):
            split_classes(replace(three, test=lone))
        few = Split(three.train.images[:12], three.train.labels[:12])
        with pytest.raises(InputError, match="10 images of each class"):
            split_classes(replace(three, train=few))


@pytest.fixture(scope="module")
def detection(three: Dataset) -> Detection:
    return detect(three, AnomalySettings(hidden=(16, 4), epochs=30, vae_epochs=1, num_latent=2, label=7))


class TestDetect:
    def test_tells_classes_apart(self, detection):
        rows = {row.method: row for row in detection.table.rows}
        assert len(rows) == 12
        for method, row in rows.items():
            if "VAE" not in method:  # one epoch teaches that nothing
                assert row.auroc > 0.9, method
            assert list(row.auroc_by_class) == [0, 1, 7]
            assert row.worst == min(row.auroc_by_class.values()) <= row.auroc

    def test_shuffled_labels_are_chance(self, three, monkeypatch):
        monkeypatch.setattr(anomaly, "BASELINES", anomaly.BASELINES[:2])
        rng = np.random.default_rng(0)
        train, test = (Split(s.images, rng.permutation(s.labels)) for s in (three.train, three.test))
        settings = AnomalySettings(hidden=(16, 4), epochs=2, vae_epochs=None)
        detection = detect(Dataset("digits", train, test, 10), settings)
        for row in detection.table.rows:
            assert 0.3 < row.auroc < 0.7, row.method

    def test_draws_the_extremes(self, detection, three, tmp_path):
        detection.draw(tmp_path / "extremes.png")
        assert (tmp_path / "extremes.png").stat().st_size > 5000
        with pytest.raises(InputError, match="expected a label of 0, 1, 7, got 3"):
            detect(three, AnomalySettings(label=3))

    def test_refuses_bad_contamination(self):
        with pytest.raises(InputError, match="contamination above 0 and below 1, got 0"):
            AnomalySettings(contamination=0)


class TestObtain:
    def test_trains_keeps_and_loads(self, three, tmp_path):
        config = AUTOENCODER.replace(epochs=1, batch_size=32, hidden=(4,))
        _, trained = load_or_train(None, config, three, keep=tmp_path / "run")
        found, loaded = load_or_train(tmp_path / "run", AUTOENCODER, three)
        assert found == config
        x = jnp.asarray(as_unit_float(three.test.images))
        assert np.array_equal(trained.encode(x), loaded.encode(x))

    def test_refuses_another_kind_and_warns_of_other_data(self, three, tmp_path):
        config = AUTOENCODER.replace(epochs=0, batch_size=32, hidden=(4,))
        load_or_train(None, config, three, keep=tmp_path / "run")
        wanted = replace(config, model=ConditionalVAEConfig())
        with pytest.raises(InputError, match=r"expected a run of ConditionalVAE.*Autoencoder"):
            load_or_train(tmp_path / "run", wanted, three)
        with pytest.warns(UserWarning, match="trained on digits, and is used on letters"):
            load_or_train(tmp_path / "run", config, replace(three, name="letters"))
        with pytest.raises(InputError, match=r"no .*config\.json"):
            load_or_train(tmp_path / "nothing", config, three)


def test_script_refuses_before_it_trains(tmp_path, monkeypatch, capsys):
    arguments = ["anomaly.py", "--json", str(tmp_path / "no" / "t.json")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as stopped:
        run(main_of("anomaly"))
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("error: expected a folder that can be written to")
