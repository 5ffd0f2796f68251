"""The convolutional VAE of any size beside its twin in torch_ref."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch.distributions import AffineTransform, SigmoidTransform, TransformedDistribution, Uniform

from jaxae import ConvVAE, ConvVAEConfig, parity, port
from jaxae.config import Activation
from jaxae.network.models import build
from jaxae.network.pixel_cost import pixel_cost
from jaxae.port.reference import reference_module
from jaxae.torch_rng.generator import Generator
from torch_ref.conv_vae import ConvVariationalAutoencoder
from torch_ref.errors import InputError

CASES: list[tuple[int, int, int, tuple[int, ...], int, Activation]] = [
    (9, 13, 3, (4, 5), 0, "relu"),
    (22, 13, 2, (4, 5, 6), 3, "leaky_relu"),
]


@pytest.mark.parametrize(("height", "width", "channels", "widths", "classes", "activation"), CASES)
def test_forward_gradients_and_steps_are_torchs(height, width, channels, widths, classes, activation):
    sizes = {"height": height, "width": width, "channels": channels, "widths": widths, "activation": activation}
    config = ConvVAEConfig(4, classes, **sizes)
    ours, theirs = build(config, rngs=nnx.Rngs(0)), reference_module(config)
    rng = np.random.default_rng(0)
    images, eps = rng.random((5, height, width, channels)), rng.standard_normal((5, 4))
    label = (np.arange(5) % classes,) if classes else ()
    found = parity.compare(
        theirs,
        ours,
        (images.transpose(0, 3, 1, 2), *label, eps),
        nnx_inputs=(images, *label, eps),
        torch_call=lambda module, x, *rest: module(x, *(rest if classes else (None, *rest))),
        nnx_call=lambda module, x, *rest: tuple(module(x, *rest[:-1], eps=rest[-1]))[:4],
        steps=5,
    )
    assert found.verdict == "equal", found


@pytest.mark.parametrize(("height", "width", "channels", "widths", "classes", "activation"), CASES)
def test_initial_weights_under_torchs_seed_are_torchs(height, width, channels, widths, classes, activation):
    config = ConvVAEConfig(4, classes, height=height, width=width, channels=channels, widths=widths)
    torch.manual_seed(7)
    theirs = dict(reference_module(config).named_parameters())
    ours = build(config, rngs=nnx.Rngs(0))
    ours.reset_parameters(Generator(7))
    for name, value in nnx.to_pure_dict(nnx.state(ours)).items():
        weight = np.moveaxis(theirs[f"{name}.weight"].detach().numpy(), (1, 0), (-2, -1))
        np.testing.assert_array_equal(value["kernel"], weight)
        np.testing.assert_array_equal(value["bias"], theirs[f"{name}.bias"].detach().numpy())
    assert len(jax.tree.leaves(nnx.to_pure_dict(nnx.state(ours)))) == len(theirs)


@pytest.mark.parametrize(
    ("likelihood", "scale"),
    [("gaussian", "learned"), ("discretized-logistic", "fixed"), ("discretized-logistic", "per-pixel")],
)
def test_the_likelihoods_and_their_gradients_are_torchs(likelihood, scale, x64):
    config = ConvVAEConfig(2, height=5, width=8, widths=(4,), likelihood=likelihood, scale=scale, scale_value=0.3)
    theirs: Any = reference_module(config).double()
    ours = build(config, rngs=nnx.Rngs(0))
    port.from_torch(ours, theirs, flatten="CHW", unflatten="CHW")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 5, 8, 3)) / 255
    images[0, 0, :2, 0] = 0, 1  # the two values that have tails
    code = rng.standard_normal((4, 2))
    mean, log_scale = theirs.pixels(torch.from_numpy(code))
    cost = theirs.pixel_cost(mean, log_scale, torch.from_numpy(images.transpose(0, 3, 1, 2)))
    cost.backward()

    @nnx.jit
    @nnx.value_and_grad
    def costed(model: ConvVAE) -> jax.Array:
        return pixel_cost(config, model.decode_pixels(code), jnp.asarray(images)).sum()

    value, gradient = costed(ours)
    assert float(value) == pytest.approx(cost.item(), rel=1e-12)  # measured: 3e-16
    wanted = build(config, rngs=nnx.Rngs(0))
    slopes = {name: torch.zeros_like(one) if one.grad is None else one.grad for name, one in theirs.named_parameters()}
    port.from_torch(wanted, slopes, flatten="CHW", unflatten="CHW")
    pairs = zip(jax.tree.leaves(gradient), jax.tree.leaves(nnx.state(wanted)), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)  # measured: 1e-13


def test_torchs_likelihoods_are_its_distributions():
    torch.manual_seed(0)
    mean, log_scale = torch.rand(2, 3, 5, 4).double(), torch.rand(2, 3, 5, 4).double() - 3
    target = torch.randint(0, 256, (2, 3, 5, 4)) / 255.0
    target[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    model = ConvVariationalAutoencoder(5, 4, 3, (4,), likelihood="discretized-logistic")
    logistic = TransformedDistribution(
        Uniform(torch.zeros_like(mean), torch.ones_like(mean)),
        [SigmoidTransform().inv, AffineTransform(mean, log_scale.exp())],
        validate_args=False,
    )
    target = target.double()
    above, below = (logistic.cdf(target + half / 510) for half in (1, -1))
    mass = torch.where(target == 1, 1.0, above) - torch.where(target == 0, 0.0, below)
    assert float(mass.min()) > 1e-9  # where the difference of two cdfs has digits left
    found = model.pixel_cost(mean, log_scale, target)
    assert found.item() == pytest.approx(-mass.log().sum().item(), rel=1e-7)  # measured: 1e-10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"height": 3, "width": 9, "widths": (4, 4)}, "sides that halve 2 times"),
        ({"height": 8, "width": 8, "widths": ()}, "sides that halve 0 times"),
        ({"height": 8, "width": 8, "channels": 0}, "layers of at least one channel"),
        ({"height": 8, "width": 8, "num_latent": 0}, "at least one latent dimension"),
        ({"height": 8, "width": 8, "activation": "gelu"}, "an activation out of"),
        ({"height": 8, "width": 8, "likelihood": "laplace"}, "expected a likelihood out of .*, got 'laplace'"),
        ({"height": 8, "width": 8, "likelihood": "gaussian", "scale": "own"}, "a scale out of .*'own'"),
        ({"height": 8, "width": 8, "likelihood": "gaussian", "scale_value": 0.0}, "a value above 0, got .* and 0.0"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        ConvVariationalAutoencoder(**arguments)


def test_images_of_another_shape_are_refused():
    model = ConvVariationalAutoencoder(8, 6, 3, (4,))
    with pytest.raises(InputError, match=r"expected features of \(B, 3, 8, 6\), got \(2, 3, 6, 8\)"):
        model(torch.zeros(2, 3, 6, 8))
