"""Values and gradients against torch are on the parity ladder; here are the claims of the docs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxae.errors import InputError
from jaxae.network.losses import (
    bce_from_logits,
    bce_from_probabilities,
    discretized_logistic_cost,
    gaussian_cost,
    kl_from_standard_normal,
    negative_elbo,
)


def at_logit(form, logit: float, target: float, dtype) -> tuple[float, float]:
    """Cost and its slope by the logit, of one pixel."""

    def cost(x):
        y = jax.nn.sigmoid(x) if form is bce_from_probabilities else x
        return form(y, jnp.full((1, 1), target, dtype)).sum()

    value, slope = jax.value_and_grad(cost)(jnp.full((1, 1), logit, dtype))
    return float(value), float(slope[0, 0])


def test_where_the_two_forms_part_in_float32():
    assert at_logit(bce_from_probabilities, 20, 0, jnp.float32) == (100.0, 0.0)
    assert at_logit(bce_from_logits, 20, 0, jnp.float32) == pytest.approx((20, 1), rel=1e-6)


def test_where_the_two_forms_part_in_float64(x64):
    value, slope = at_logit(bce_from_probabilities, -30, 1, jnp.float64)
    assert value == pytest.approx(30)
    assert slope == pytest.approx(-0.0936, abs=1e-4)
    assert at_logit(bce_from_logits, -30, 1, jnp.float64) == pytest.approx((30, -1))


@pytest.mark.parametrize("logit", [-1e4, -90.0, -0.7, 0.0, 90.0, 1e4])
@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
def test_logits_of_any_size_have_a_finite_cost_and_slope(logit, target):
    value, slope = at_logit(bce_from_logits, logit, target, jnp.float32)
    # At the logit 90 the formula of the sigmoid's logarithm is infinite in float32.
    assert value == pytest.approx(max(logit, 0) - logit * target + np.log1p(np.exp(-abs(logit))))
    sigmoid = 1 / (1 + np.exp(-logit)) if logit > -100 else 0.0
    assert slope == pytest.approx(sigmoid - target, abs=1e-6)


def test_the_small_costs_of_single_pixels_are_not_lost():
    """log(1 + e) of a small e would be 0; float32 holds the pixel's cost to seven digits."""
    logits = np.linspace(-80, 80, 100_001, dtype=np.float32)
    costs = bce_from_logits(jnp.asarray(logits)[:, None], jnp.ones((len(logits), 1)))
    expected = np.log1p(np.exp(-np.abs(logits, dtype=np.float64)))
    small = logits > 0  # elsewhere the cost is the logit itself
    np.testing.assert_allclose(np.asarray(costs)[small], expected[small], rtol=3e-7)


def test_each_example_has_its_own_sum():
    rng = np.random.default_rng(0)
    p, t = jnp.asarray(rng.uniform(0.1, 0.9, (2, 3, 4, 5, 2)).astype(np.float32))
    expected = -(t * jnp.log(p) + (1 - t) * jnp.log1p(-p)).sum((1, 2, 3))
    logits = jnp.log(p) - jnp.log1p(-p)
    np.testing.assert_allclose(bce_from_probabilities(p, t), expected, rtol=1e-5)
    np.testing.assert_allclose(bce_from_logits(logits, t), expected, rtol=1e-5)


def test_targets_get_no_gradient():
    p, t = jnp.full((2, 3), 0.3), jnp.full((2, 3), 0.6)
    for form in (bce_from_probabilities, bce_from_logits):
        assert not jax.grad(lambda t, form=form: form(p, t).sum())(t).any()


def test_kl_is_zero_at_the_prior_and_what_quadrature_says_elsewhere():
    zeros = jnp.zeros((2, 3))
    assert not kl_from_standard_normal(zeros, zeros).any()
    mean, log_var = 0.7, -1.2
    x = np.linspace(-12, 12, 200_001)
    density = np.exp(-((x - mean) ** 2) / (2 * np.exp(log_var))) / np.sqrt(2 * np.pi * np.exp(log_var))
    log_ratio = -((x - mean) ** 2) / (2 * np.exp(log_var)) - log_var / 2 + x**2 / 2
    expected = (density * log_ratio).sum() * (x[1] - x[0])
    found = kl_from_standard_normal(jnp.full((1, 1), mean), jnp.full((1, 1), log_var))
    assert float(found[0]) == pytest.approx(expected, rel=1e-5)


def test_beta_weighs_the_kl_term_alone():
    reconstruction, kl = jnp.array([3.0, 5.0]), jnp.array([2.0, 4.0])
    assert negative_elbo(reconstruction, kl, 0.5).tolist() == [4.0, 7.0]


@pytest.mark.parametrize("function", [bce_from_probabilities, bce_from_logits, kl_from_standard_normal])
@pytest.mark.usefixtures("unchecked")
def test_shapes_that_would_broadcast_are_refused(function):
    with pytest.raises(InputError, match=r"one shape, got \(3, 1\) and \(3, 4\)"):
        function(jnp.ones((3, 1)), jnp.ones((3, 4)))


@pytest.mark.usefixtures("unchecked")
def test_an_elbo_of_unequal_batches_is_refused():
    with pytest.raises(InputError, match="one shape"):
        negative_elbo(jnp.ones(3), jnp.ones(1), 1.0)


ONES, SCALE = jnp.ones((2, 3)), jnp.zeros((1, 1))


@pytest.mark.parametrize(
    "cost",
    [
        bce_from_logits,
        bce_from_probabilities,
        lambda first, second: gaussian_cost(first, SCALE, second),
        lambda first, second: discretized_logistic_cost(first, SCALE, second),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_arrays_of_two_shapes_or_of_integers_have_no_cost(cost):
    assert cost(ONES, ONES).shape == (2,)
    with pytest.raises(InputError, match=r"expected two arrays of one shape, got \(2, 3\) and \(2, 1\)"):
        cost(ONES, ONES[:, :1])
    with pytest.raises(InputError, match="expected arrays of floats, got int32"):
        cost(ONES, ONES.astype(int))


@pytest.mark.parametrize("cost", [gaussian_cost, discretized_logistic_cost])
@pytest.mark.usefixtures("unchecked")
def test_scales_of_integers_have_no_cost(cost):
    with pytest.raises(InputError, match="expected arrays of floats, got int32"):
        cost(ONES, SCALE.astype(int), ONES)
