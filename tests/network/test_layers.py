"""Layers against torch's are on the parity ladder; here are their own claims and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from jaxae.errors import InputError
from jaxae.network.feature_major import pixels
from jaxae.network.layers import Conv, ConvTranspose, Linear, flatten_as_torch, leaky_relu, unflatten_as_torch
from jaxae.torch_rng.generator import Generator

RNGS = nnx.Rngs(0)


@pytest.mark.parametrize(
    ("layer", "reference"),
    [
        (Linear(5, 3, rngs=RNGS), lambda: torch.nn.Linear(5, 3)),
        (Linear(1, 9, use_bias=False, rngs=RNGS), lambda: torch.nn.Linear(1, 9, bias=False)),
        (Conv(4, 6, (3, 2), groups=2, rngs=RNGS), lambda: torch.nn.Conv2d(4, 6, (3, 2), groups=2)),
        (ConvTranspose(4, 6, (3, 2), groups=2, rngs=RNGS), lambda: torch.nn.ConvTranspose2d(4, 6, (3, 2), groups=2)),
        (ConvTranspose(2, 7, 5, rngs=RNGS), lambda: torch.nn.ConvTranspose2d(2, 7, 5)),
    ],
)
def test_parameters_are_reset_to_torchs_bits(layer, reference):
    layer.reset_parameters(Generator(17))
    torch.manual_seed(17)
    expected = reference()
    weight = expected.weight.detach().numpy()
    order = (1, 0) if weight.ndim == 2 else (2, 3, 1, 0)
    assert np.array_equal(layer.kernel[...], weight.transpose(order))
    if expected.bias is None:
        assert layer.bias is None
    else:
        assert np.array_equal(layer.bias[...], expected.bias.detach().numpy())


@pytest.mark.parametrize("lowering", ["plain", "matmul"])
def test_a_label_outside_the_planes_sets_none(lowering):
    layer = Conv(1 + 3, 2, 2, lowering=lowering, rngs=nnx.Rngs(1))
    image = jnp.ones((2, 4, 3, 1))
    planes = jnp.zeros((2, 4, 3, 3))
    bare = layer(jnp.concatenate([image, planes], -1))
    np.testing.assert_allclose(layer(image, jnp.array([3, -1])), bare, rtol=1e-6, atol=1e-6)
    assert np.abs(layer(image, jnp.array([0, 2])) - bare).max() > 1e-3


@pytest.mark.parametrize(("settings", "channels"), [({"padding": 1}, 2), ({"groups": 2}, 1)])
def test_a_label_is_refused_where_planes_are_no_bias(settings, channels):
    layer = Conv(4, 2, 3, rngs=RNGS, **settings)
    with pytest.raises(InputError, match="no padding and one group"):
        layer(jnp.ones((1, 5, 5, channels)), jnp.array([0]))


@pytest.mark.parametrize("kind", [Conv, ConvTranspose])
def test_channels_that_groups_do_not_divide_are_refused(kind):
    with pytest.raises(InputError, match="3 groups divide, got 6 to 4"):
        kind(6, 4, 2, groups=3, rngs=RNGS)


def test_lowerings_agree_in_float64_and_are_different_programs(x64):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 7, 5, 3)))
    for kind in (Conv, ConvTranspose):
        layers = [kind(3, 4, (4, 2), stride=(2, 3), lowering=name, rngs=nnx.Rngs(2)) for name in ("plain", "matmul")]
        plain, matmul = (jax.jit(layer)(x) for layer in layers)
        np.testing.assert_allclose(plain, matmul, rtol=1e-12, atol=1e-12)
        programs = [str(jax.make_jaxpr(layer)(x)) for layer in layers]
        assert ["conv_general_dilated" in program for program in programs] == [True, False]


def test_second_derivatives_of_both_lowerings_agree(x64):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 5, 2)))
    for kind in (Conv, ConvTranspose):
        plain, matmul = (
            second_derivatives(kind(2, 3, (3, 2), stride=2, lowering=name, rngs=nnx.Rngs(2)), x)
            for name in ("plain", "matmul")
        )
        for one, other in zip(plain, matmul, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


def second_derivatives(layer: nnx.Module, x: jax.Array) -> list[jax.Array]:
    """Derivatives of the size of a layer's slopes, by its parameters and its input."""
    graph, state = nnx.split(layer)
    slopes = jax.grad(lambda state, x: jnp.sin(nnx.merge(graph, state)(x)).sum(), (0, 1))

    def size(*given):
        return sum((one**2).sum() for one in jax.tree.leaves(slopes(*given)))

    return jax.tree.leaves(jax.jit(jax.grad(size, (0, 1)))(state, x))


def test_flatten_is_torchs_and_is_undone():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    expected = torch.from_numpy(x).permute(0, 3, 1, 2).flatten(1).numpy()
    assert np.array_equal(flatten_as_torch(jnp.asarray(x)), expected)
    assert np.array_equal(unflatten_as_torch(jnp.asarray(expected), 3, 4), x)


def test_leaky_relu_has_torchs_derivative_at_zero():
    assert jax.vmap(jax.grad(leaky_relu))(jnp.array([-1.0, 0.0, 2.0])).tolist() == pytest.approx([0.01, 0.01, 1.0])


@pytest.mark.parametrize("shape", [(9, 8, 1), (6, 6, 2), (72,)])
def test_pixels_are_torchs_quotients(shape):
    """XLA multiplies by the reciprocal instead, unless it is kept from it: 126 values differ."""
    flat = np.zeros((4, 72), np.uint8)
    flat.reshape(-1)[:256] = np.arange(256)
    expected = torch.from_numpy(flat).to(torch.float32).div(255).numpy()
    converted = jax.jit(pixels, static_argnames="shape")(flat, shape=shape)
    assert np.array_equal(converted, expected.reshape(4, *shape))
    divided = jax.jit(lambda x: x.astype(jnp.float32) / 255)(flat)
    assert (np.asarray(divided) != expected).sum() == 126
