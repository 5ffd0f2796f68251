import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.stats import norm

from jaxae import ConditionalVAE, ConditionalVAEConfig, InputError
from jaxae.network.likelihood import _log_normaliser, importance_weighted_log_likelihood
from jaxae.network.losses import bce_from_logits


@pytest.fixture(scope="module")
def model() -> ConditionalVAE:
    # An untrained posterior is far from the model's own: the bounds differ clearly.
    config = ConditionalVAEConfig(num_latent=2, output_leaky_relu=False)
    model = ConditionalVAE(config, rngs=nnx.Rngs(0))
    kernel = model.dec_linear_1.kernel
    kernel.set_value(kernel[...].at[:2].multiply(20))
    return model


@pytest.fixture(scope="module")
def images() -> jax.Array:
    return jax.random.uniform(jax.random.key(1), (3, 28, 28, 1))


LABELS = jnp.array([0, 4, 9])


def test_many_samples_reach_the_integral(model, images):
    bounds = importance_weighted_log_likelihood(model, images, LABELS, key=jax.random.key(2), num_samples=4000)
    # The integral over two latent dimensions by a grid, in the prior.
    side = jnp.linspace(-6, 6, 61)
    grid = jnp.stack(jnp.meshgrid(side, side), -1).reshape(-1, 2)
    log_prior = -0.5 * (grid**2).sum(1) - jnp.log(2 * jnp.pi)
    for image, label, bound in zip(jnp.round(images), LABELS, bounds, strict=True):
        logits = model.decode_logits(grid, jnp.full(len(grid), label))
        targets = jnp.broadcast_to(image[None], logits.shape)
        joint = log_prior - bce_from_logits(logits, targets)
        exact = jax.scipy.special.logsumexp(joint) + 2 * jnp.log(side[1] - side[0])
        # Measured: within 0.05 nats of about -560.
        assert float(bound) == pytest.approx(float(exact), abs=0.3)


def test_drawn_pixels_are_binary_with_the_grey_values_as_probabilities(model, images):
    def estimate(pixels, shown, key=4, samples=2):
        return importance_weighted_log_likelihood(
            model, shown, LABELS, key=jax.random.key(key), num_samples=samples, pixels=pixels
        )

    # Pixels that are binary already stay what they are: the draw is certain.
    binary = jnp.round(images)
    np.testing.assert_array_equal(estimate("drawn", binary), estimate("binarized", binary))
    assert np.abs(estimate("drawn", images) - estimate("binarized", images)).max() > 1
    # A model whose logits are all 1 has a log-likelihood that counts the pixels drawn as 1.
    last = model.dec_deconv_3
    kernel, bias = last.kernel[...], last.bias[...]
    last.kernel.set_value(jnp.zeros_like(kernel))
    last.bias.set_value(jnp.ones_like(bias))
    try:
        grey = jnp.full((3, 28, 28, 1), 0.25)
        flat = importance_weighted_log_likelihood(
            model, grey, LABELS, key=jax.random.key(5), num_samples=4000, pixels="drawn"
        )
    finally:
        last.kernel.set_value(kernel)
        last.bias.set_value(bias)
    ones = flat + 784 * jax.nn.softplus(1.0)
    # 784 draws at 1/4: 196 with a deviation of 12. Measured: within 20 of it, the bound's noise included.
    assert (np.abs(ones - 196) < 60).all()


@pytest.mark.parametrize("num_samples", [1, 3])
def test_the_estimate_is_the_formula(model, images, num_samples):
    key = jax.random.key(3)
    came = importance_weighted_log_likelihood(
        model, images, LABELS, key=key, num_samples=num_samples, pixels="cross-entropy"
    )
    mean, log_var = model.encode(images, LABELS)
    weights = []
    for sample in jax.random.split(key, num_samples):
        code = mean + jnp.exp(log_var / 2) * jax.random.normal(sample, mean.shape)
        p = np.asarray(model.decode(code, LABELS), np.float64)
        x = np.asarray(images, np.float64)
        log_p = (x * np.log(p) + (1 - x) * np.log1p(-p)).sum((1, 2, 3))
        posterior = norm.logpdf(code, mean, jnp.exp(log_var / 2)).sum(1)
        weights.append(log_p + norm.logpdf(code).sum(1) - posterior)
    wanted = np.log(np.mean(np.exp(np.array(weights) + 500), axis=0)) - 500
    # Measured: 3e-7 of it, float32's rounding of a sum over 784 pixels.
    np.testing.assert_allclose(came, wanted, rtol=1e-5)


def test_the_continuous_bernoulli_integrates_to_one():
    x = jnp.linspace(0, 1, 20001)
    for logit in (-9.0, -0.5, -0.009, 0.0, 0.011, 3.0):
        log_density = _log_normaliser(jnp.float32(logit)) - (jax.nn.softplus(logit) - logit * x)
        assert jnp.trapezoid(jnp.exp(log_density), x) == pytest.approx(1, abs=1e-4)


@pytest.mark.usefixtures("unchecked")
def test_bad_arguments_are_refused(model, images):
    key = jax.random.key(0)
    with pytest.raises(InputError, match=r"num_samples from 1 to .*, got 0"):
        importance_weighted_log_likelihood(model, images, LABELS, key=key, num_samples=0)
    with pytest.raises(InputError, match="expected pixels of binarized"):
        importance_weighted_log_likelihood(model, images, LABELS, key=key, pixels="gray")  # type: ignore
    both = ConditionalVAE(ConditionalVAEConfig(num_latent=2, reconstruct_condition=True), rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="expected a model of images alone, got one that reconstructs its condition"):
        importance_weighted_log_likelihood(both, images, LABELS, key=key)
