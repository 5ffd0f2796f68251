"""The convolutional VAE of any size beside its twin in torch_ref."""

import jax
import numpy as np
import pytest
import torch
from flax import nnx

from jaxae import ConvVAEConfig, parity
from jaxae.config import Activation
from jaxae.network.models import build
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
    ("arguments", "message"),
    [
        ({"height": 3, "width": 9, "widths": (4, 4)}, "sides that halve 2 times"),
        ({"height": 8, "width": 8, "widths": ()}, "sides that halve 0 times"),
        ({"height": 8, "width": 8, "channels": 0}, "layers of at least one channel"),
        ({"height": 8, "width": 8, "num_latent": 0}, "at least one latent dimension"),
        ({"height": 8, "width": 8, "activation": "gelu"}, "an activation out of"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        ConvVariationalAutoencoder(**arguments)


def test_images_of_another_shape_are_refused():
    model = ConvVariationalAutoencoder(8, 6, 3, (4,))
    with pytest.raises(InputError, match=r"expected features of \(B, 3, 8, 6\), got \(2, 3, 6, 8\)"):
        model(torch.zeros(2, 3, 6, 8))
