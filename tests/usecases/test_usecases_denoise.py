from collections.abc import Iterator
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image
from threadpoolctl import threadpool_limits

from jaxae.config import AutoencoderConfig
from jaxae.data.dataset import Dataset, Split, load
from jaxae.errors import InputError
from jaxae.network.models import Model, build
from jaxae.network.parameters import parameters_of
from jaxae.training.fit import fit
from jaxae.usecases.corruption import Gaussian, MaskedBlocks, MaskedPixels, SaltAndPepper
from jaxae.usecases.denoise import DenoiseSettings, corrupted, denoise
from jaxae.usecases.denoise_file import denoise_file
from jaxae.usecases.image_quality import mean_psnr, ssim

KINDS = [Gaussian(0.2), SaltAndPepper(0.3), MaskedPixels(0.4), MaskedBlocks(5, 2)]


@pytest.fixture(scope="module", autouse=True)
def one_blas_thread() -> Iterator[None]:
    """Many threads on small matrices spin, and take minutes beside other work."""
    with threadpool_limits(limits=1):
        yield


@pytest.fixture(scope="module")
def digits() -> Dataset:
    full = load("digits")
    return Dataset("digits", full.train, Split(full.test.images[:40], full.test.labels[:40]), 10)


@pytest.fixture(scope="module")
def settings() -> DenoiseSettings:
    return DenoiseSettings(hidden=(64,), epochs=20, batch_size=32, learning_rate=0.003)


class TestCorruption:
    @pytest.mark.parametrize("corruption", KINDS, ids=str)
    def test_stays_in_range_and_depends_on_the_key(self, corruption):
        image = jax.random.uniform(jax.random.key(0), (28, 28, 1))
        first, again, other = (corruption(jax.random.key(n), image) for n in (1, 1, 2))
        assert first.shape == image.shape
        assert 0 <= first.min() <= first.max() <= 1
        assert jnp.array_equal(first, again)
        assert not jnp.array_equal(first, other)
        assert hash(corruption) == hash(replace(corruption))

    def test_gaussian_has_its_deviation(self):
        grey = jnp.full((100, 100, 1), 0.5)
        noise = Gaussian(0.1)(jax.random.key(0), grey) - grey
        assert float(noise.std()) == pytest.approx(0.1, rel=0.05)
        assert abs(float(noise.mean())) < 0.005

    def test_salt_and_pepper_turn_their_share(self):
        grey = jnp.full((100, 100, 1), 0.5)
        shown = SaltAndPepper(0.3)(jax.random.key(0), grey)
        assert float((shown == 0).mean()) == pytest.approx(0.15, abs=0.02)
        assert float((shown == 1).mean()) == pytest.approx(0.15, abs=0.02)
        assert float((shown == 0.5).mean()) == pytest.approx(0.7, abs=0.02)

    def test_masked_pixels_turn_their_share(self):
        shown = MaskedPixels(0.4)(jax.random.key(0), jnp.ones((100, 100, 1)))
        assert float((shown == 0).mean()) == pytest.approx(0.4, abs=0.02)

    def test_one_block_is_a_square_within_the_image(self):
        for seed in range(20):
            shown = MaskedBlocks(5, 1)(jax.random.key(seed), jnp.ones((11, 8, 1)))
            rows, columns = np.nonzero(np.asarray(shown[..., 0]) == 0)
            assert len(rows) == 25
            assert np.ptp(rows) == np.ptp(columns) == 4

    def test_blocks_reach_every_pixel(self):
        keys = jax.random.split(jax.random.key(0), 500)
        shown = jax.vmap(MaskedBlocks(3, 1), in_axes=(0, None))(keys, jnp.ones((6, 5, 1)))
        assert bool((shown == 0).any(0).all())

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: Gaussian(0), "deviation above 0 and below .*, got 0"),
            (lambda: Gaussian(float("nan")), "deviation above 0 and below .*, got nan"),
            (lambda: SaltAndPepper(1.5), "share above 0 and below 1, got 1.5"),
            (lambda: MaskedPixels(0), "share above 0 and below 1, got 0"),
            (lambda: MaskedBlocks(0, 1), "expected side from 1 to .*, got 0"),
            (lambda: MaskedBlocks(9, 1)(jax.random.key(0), jnp.ones((8, 8, 1))), "blocks within 8x8"),
        ],
    )
    def test_refuses_nonsense(self, make, message):
        with pytest.raises(InputError, match=message):
            make()

    def test_is_drawn_within_the_compiled_step(self, digits, settings):
        config = settings.config(digits).replace(epochs=1)
        shown, again, clean = (
            fit(config, digits, corrupt=corrupt).state.parameters["linear_1"]["kernel"]
            for corrupt in (Gaussian(0.5), Gaussian(0.5), None)
        )
        assert jnp.array_equal(shown, again)
        assert not jnp.allclose(shown, clean, atol=1e-3)


class TestMeasures:
    def test_psnr(self):
        zeros = np.zeros((2, 28, 28, 1), np.float32)
        tenth = zeros + np.array([0.1, 0.01], np.float32).reshape(2, 1, 1, 1)
        assert mean_psnr(zeros, tenth) == pytest.approx((20 + 40) / 2, abs=1e-4)
        assert mean_psnr(zeros, zeros) == pytest.approx(100)

    def test_ssim(self, digits):
        images = digits.test.images[:4] / np.float32(255)
        assert ssim(images, images) == pytest.approx(1)
        assert ssim(images, 1 - images) < 0.2

    @pytest.mark.usefixtures("unchecked")
    def test_shapes_are_compared(self):
        for measure in (mean_psnr, ssim):
            with pytest.raises(InputError, match="expected images"):
                measure(np.zeros((2, 28, 28, 1)), np.zeros((1, 28, 28, 1)))

    def test_each_image_has_its_own_noise(self):
        shown = corrupted(np.full((2, 28, 28, 1), 0.5, np.float32), Gaussian(0.1), seed=0)
        assert not np.array_equal(shown[0], shown[1])


def test_comparison(digits, settings, tmp_path):
    restoration = denoise(digits, settings, {"gaussian": Gaussian(0.4)})
    rows = {row.method: row for row in restoration.table.rows}
    assert list(rows) == ["as it came", "PCA", "median filter", "non-local means", "denoising autoencoder"]
    for method in list(rows)[1:]:
        assert rows[method].psnr > rows["as it came"].psnr + 3, method
    assert rows["denoising autoencoder"].psnr > rows["non-local means"].psnr
    restoration.draw(tmp_path / "restored.png")
    assert (tmp_path / "restored.png").stat().st_size > 5000


@pytest.fixture(scope="module")
def model() -> Model:
    return build(AutoencoderConfig(hidden=(6,)), rngs=nnx.Rngs(0))


class TestFile:
    @pytest.fixture
    def picture(self, digits):
        return np.ascontiguousarray(digits.test.images[0, ..., 0])

    def run(self, folder, pixels, model, *, tiles=False):
        Image.fromarray(pixels).save(folder / "in.png")
        denoise_file(folder / "in.png", folder / "out.png", model, tiles=tiles)
        return np.asarray(Image.open(folder / "out.png"))

    def test_is_the_networks_reconstruction(self, model, picture, tmp_path):
        out = self.run(tmp_path, picture, model)
        expected = model(jnp.asarray(picture[None] / np.float32(255))).reconstruction
        assert np.abs(out / 255 - np.asarray(expected).reshape(28, 28)).max() <= 0.5 / 255 + 1e-5

    def test_dark_on_light_is_inverted_and_back(self, model, picture, tmp_path):
        straight = self.run(tmp_path, np.pad(picture, 2), model, tiles=True)
        inverted = self.run(tmp_path, 255 - np.pad(picture, 2), model, tiles=True)
        assert np.array_equal(inverted, 255 - straight)

    def test_resizes_one_character_and_keeps_a_sheet(self, model, picture, tmp_path):
        large = np.kron(picture, np.ones((3, 3), np.uint8))
        one = self.run(tmp_path, large, model)
        assert np.array_equal(one, self.run(tmp_path, picture, model))
        sheet = np.zeros((60, 40), np.uint8)
        sheet[28:56, :28] = picture
        out = self.run(tmp_path, sheet, model, tiles=True)
        assert out.shape == (60, 40)
        assert np.array_equal(out[28:56, :28], one)

    def test_refuses_what_it_cannot_read_or_write(self, model, picture, tmp_path):
        with pytest.raises(InputError, match=r"missing\.png: No such file"):
            denoise_file(tmp_path / "missing.png", tmp_path / "o.png", model, tiles=False)
        (tmp_path / "text.png").write_text("not a picture")
        with pytest.raises(InputError, match="expected an image file, got"):
            denoise_file(tmp_path / "text.png", tmp_path / "o.png", model, tiles=False)
        Image.fromarray(picture).save(tmp_path / "in.png")
        with pytest.raises(InputError, match="expected a picture's name to write"):
            denoise_file(tmp_path / "in.png", tmp_path / "o.xyz", model, tiles=False)
        assert not list(tmp_path.glob("o.*"))
        assert not list(tmp_path.glob(".o*"))

    def test_parameters_are_left_alone(self, model, picture, tmp_path):
        before = jax.tree.map(np.array, parameters_of(model))
        self.run(tmp_path, picture, model)
        jax.tree.map(np.testing.assert_array_equal, before, parameters_of(model))


def test_what_cannot_train_is_refused_before_anything_is_computed(digits, settings, monkeypatch):
    def compute(*_):
        raise AssertionError

    monkeypatch.setattr("jaxae.usecases.denoise.principal_components", compute)
    train, test = (Split(np.repeat(one.images, 2, 2), one.labels) for one in (digits.train, digits.test))
    wide = Dataset("wide", train, test, 10)
    with pytest.raises(InputError, match=r"^expected examples of 784 features, got \[28, 56, 1\]"):
        denoise(wide, settings, {"gaussian": Gaussian(0.5)})
