"""What pixels are taken for: Gaussian and discretised logistic costs, their scales, and models of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.stats import logistic, norm

from jaxae import DENSE_VAE, ConvVAE, ConvVAEConfig, InputError
from jaxae.config import ConditionalVAEConfig
from jaxae.network.apply import score
from jaxae.network.likelihood import importance_weighted_log_likelihood
from jaxae.network.losses import discretized_logistic_cost, gaussian_cost, softplus
from jaxae.network.operations import operations_of
from jaxae.network.pixel_cost import DecodedPixels, bits_per_dimension, decoded_pixels
from jaxae.torch_rng.generator import Generator

RNG = np.random.default_rng(0)
LEVELS = np.arange(256) / 255


def config(likelihood: str = "gaussian", scale: str = "learned", **more: Any) -> ConvVAEConfig:
    sizes: dict[str, Any] = {"height": 4, "width": 6, "channels": 3, "widths": (4,), "num_latent": 2}
    return ConvVAEConfig(likelihood=likelihood, scale=scale, **(sizes | more))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (3, 7)])
@pytest.mark.parametrize("whole", [True, False])
def test_gaussian_cost_is_scipys(shape, whole, x64):
    mean, targets = RNG.random((2, *shape))
    log_scale = RNG.normal(-2, 1, (1,) * len(shape) if whole else shape)
    found = gaussian_cost(*map(jnp.asarray, (mean, log_scale, targets)))
    wanted = -norm.logpdf(targets, mean, np.exp(log_scale)).reshape(3, -1).sum(1)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)  # measured: 2e-16


def probabilities(location: float, log_scale: float, dtype: Any = jnp.float32) -> np.ndarray:
    """What each of the 256 grey values has."""
    rows = jnp.asarray(LEVELS[:, None], dtype)
    cost = discretized_logistic_cost(jnp.full_like(rows, location), jnp.full((1, 1), log_scale, dtype), rows)
    return np.exp(-np.asarray(cost, np.float64))


@pytest.mark.parametrize("location", [0.0, 1e-6, 0.0019, 0.5, 0.7312, 1.0])
@pytest.mark.parametrize("log_scale", [-13.8, -7.69, -4.0, -1.0, 3.0, 13.8])
def test_grey_values_add_up_to_one_and_are_the_logistics(location, log_scale, x64):
    # float32 measured: 3e-6, for a pixel's place is rounded to 6e-8 and the scale divides it by as little as 1e-6.
    rounding = 3e-7 + 1e-7 / np.exp(log_scale)
    assert probabilities(location, log_scale).sum() == pytest.approx(1, abs=rounding)
    found = probabilities(location, log_scale, jnp.float64)
    edges = logistic.cdf((np.arange(257) - 0.5) / 255, location, np.exp(log_scale))
    edges[0], edges[-1] = 0, 1
    np.testing.assert_allclose(found, np.diff(edges), atol=1e-9)  # measured: 1e-15, of steep ones 4e-11
    assert found.sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("log_scale", [-13.8, -7.69, 0.0, 13.8])
def test_costs_and_gradients_of_any_pixel_are_finite_in_float32(log_scale):
    location, target = (grid.reshape(-1, 1) for grid in jnp.meshgrid(jnp.linspace(0, 1, 33), jnp.linspace(0, 1, 52)))

    def cost(location: jax.Array, log_scale: jax.Array) -> jax.Array:
        return discretized_logistic_cost(location, log_scale, target).sum()

    value, slopes = jax.value_and_grad(cost, argnums=(0, 1))(location, jnp.full((1, 1), log_scale))
    assert np.isfinite(value)
    assert all(np.isfinite(slope).all() for slope in slopes)
    # Far off, the gradient still pulls towards the target: no probability is clamped.
    pull = np.asarray(slopes[0])[(np.abs(location - target) > 0.5)[:, 0] & (np.abs(target - 0.5) < 0.49)[:, 0]]
    assert np.abs(pull).min() > 1e-13


def test_targets_between_grey_values_are_the_nearest():
    location, log_scale = jnp.full((1, 3), 0.4), jnp.full((1, 1), -3.0)
    off = jnp.array([[0.0012, 0.5, 0.9985]])
    near = jnp.round(off * 255) / 255
    assert float(near[0, 0]) == 0
    first, second = (discretized_logistic_cost(location, log_scale, one) for one in (off, near))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("cost", [gaussian_cost, discretized_logistic_cost])
@pytest.mark.parametrize("shape", [(3, 4, 5, 1), (1, 1), (3, 1, 1, 1)])
def test_scales_of_another_shape_are_refused(cost, shape):
    with pytest.raises(InputError, match=r"expected log scales of \(3, 4, 5, 2\) or of one element, got \("):
        cost(jnp.zeros((3, 4, 5, 2)), jnp.zeros(shape), jnp.zeros((3, 4, 5, 2)))


def test_softplus_is_stable_with_the_sigmoid_as_its_slope():
    x = jnp.array([-200.0, -3.0, 0.0, 3.0, 200.0])
    np.testing.assert_allclose(softplus(x), np.logaddexp(0, np.asarray(x, np.float64)), atol=1e-6)
    np.testing.assert_allclose(jax.vmap(jax.grad(softplus))(x), jax.nn.sigmoid(x), atol=1e-6)


@pytest.mark.parametrize(("likelihood", "floor"), [("gaussian", -6), ("discretized-logistic", -7 - np.log(2))])
def test_scales_start_from_the_value_and_stay_above_a_floor(likelihood, floor):
    outputs = jnp.zeros((2, 4, 6, 3))

    def log_scale(scale: str, raw: float) -> np.ndarray:
        own = config(likelihood, scale, scale_value=0.2)
        raw = float(raw)
        last = jnp.concatenate([outputs, outputs + raw], -1) if scale == "per-pixel" else outputs
        found = decoded_pixels(own, last, jnp.full(1, raw) if scale == "learned" else None)
        assert found.logits.shape == outputs.shape
        assert found.log_scale is not None
        return np.asarray(found.log_scale)

    for scale, shape in (("fixed", (1, 1, 1, 1)), ("learned", (1, 1, 1, 1)), ("per-pixel", outputs.shape)):
        assert log_scale(scale, 0).shape == shape
        # Softly above the floor: 0.012 above it would be at the Gaussian's start.
        np.testing.assert_allclose(log_scale(scale, 0), np.log(0.2), atol=0.02)
        if scale != "fixed":
            np.testing.assert_allclose(log_scale(scale, -100), floor, rtol=1e-6)
            np.testing.assert_allclose(log_scale(scale, 5), np.log(0.2) + 5, rtol=1e-3)


@pytest.mark.parametrize(
    ("likelihood", "scale"), [("gaussian", "learned"), ("gaussian", "fixed"), ("discretized-logistic", "per-pixel")]
)
def test_of_a_decoder_that_hears_no_code_the_likelihood_is_exact(likelihood, scale):
    own = config(likelihood, scale, scale_value=0.3)
    model: Any = ConvVAE(own, rngs=nnx.Rngs(0))
    silent = (model.z_mean, model.z_log_var, model.dec_deconv_1)
    for layer in silent:
        layer.kernel.set_value(jnp.zeros_like(layer.kernel[...]))
    for layer in silent[:2]:
        layer.bias.set_value(jnp.zeros_like(layer.bias[...]))
    images = RNG.integers(0, 256, (3, 4, 6, 3)).astype(np.uint8)
    bias = np.asarray(model.dec_deconv_1.bias[...], np.float64)
    mean = 1 / (1 + np.exp(-bias[:3]))
    floor = {"gaussian": -6, "discretized-logistic": -7 - np.log(2)}[likelihood]
    raw = bias[3:] if scale == "per-pixel" else np.zeros(3)
    spread = np.exp(floor + np.logaddexp(0, raw + np.log(0.3) - floor)) if scale != "fixed" else np.full(3, 0.3)
    x = images / 255
    if likelihood == "gaussian":
        log_p = norm.logpdf(x, mean, spread)
    else:
        above, below = (logistic.cdf(x + half, mean, spread) for half in (1 / 510, -1 / 510))
        log_p = np.log(np.where(x == 1, 1, above) - np.where(x == 0, 0, below))
    wanted = log_p.reshape(3, -1).sum(1)
    estimate = importance_weighted_log_likelihood(
        model, x.astype(np.float32), key=jax.random.key(0), num_samples=2, pixels="own"
    )
    np.testing.assert_allclose(estimate, wanted, rtol=3e-6)
    np.testing.assert_allclose(score(model, images), -wanted, rtol=3e-6)
    shown = model.decode(np.zeros((1, 2), np.float32))
    assert shown.shape == (1, 4, 6, 3)
    np.testing.assert_allclose(shown[0, 1, 2], mean, rtol=1e-5)
    last = next(one for one in reversed(operations_of(model).decoder) if one.kind == "deconv")
    assert last.bias is not None
    np.testing.assert_array_equal(last.bias, np.asarray(model.dec_deconv_1.bias[...])[:3])


def test_what_pixels_are_must_be_the_models():
    images = np.zeros((1, 4, 6, 3), np.float32)
    cases: list[tuple[ConvVAEConfig, Any]] = [
        (config(), "binarized"),
        (config(), "cross-entropy"),
        (config("bernoulli"), "own"),
    ]
    for own, pixels in cases:
        model = ConvVAE(own, rngs=nnx.Rngs(0))
        with pytest.raises(InputError, match="expected pixels 'own' exactly where they are not Bernoulli, got"):
            importance_weighted_log_likelihood(model, images, key=jax.random.key(0), pixels=pixels)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: config("bernoulli", "fixed"), "no scale of a Bernoulli likelihood, which has none, got 'fixed'"),
        (lambda: config("bernoulli", scale_value=0.2), "no scale_value of a Bernoulli likelihood"),
        (lambda: config(scale_value=0.0), "scale_value from 1e-06 to"),
        (lambda: config("laplace"), "likelihood to be one of bernoulli, gaussian, discretized-logistic"),
        (lambda: ConditionalVAEConfig(likelihood="gaussian"), "the post's likelihood, bernoulli"),
        (lambda: DENSE_VAE.replace(likelihood="gaussian"), "a bernoulli likelihood where pixels are binarized"),
    ],
)
def test_what_does_not_go_together_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_bits_per_dimension_are_those_of_grey_values_alone():
    one = config("discretized-logistic")
    dimensions = 4 * 6 * 3
    # Every grey value alike takes eight bits.
    assert bits_per_dimension(one, dimensions * np.log(256) - 5, 5.0) == pytest.approx(8)
    assert bits_per_dimension(config(), 1.0, 1.0) is None
    assert bits_per_dimension(config("bernoulli"), 1.0, 1.0) is None


def test_decoded_pixels_are_a_tree_that_programs_may_return():
    pixels = jax.jit(lambda x: decoded_pixels(config("bernoulli"), x, None))(jnp.zeros((1, 4, 6, 3)))
    assert isinstance(pixels, DecodedPixels)
    assert pixels.log_scale is None


def test_redrawn_parameters_begin_with_the_first_scale():
    model = ConvVAE(config(), rngs=nnx.Rngs(0))
    model.dec_log_scale.set_value(jnp.full(1, 0.7))
    model.reset_parameters(Generator(0))
    np.testing.assert_array_equal(model.dec_log_scale[...], np.zeros(1))
