"""The convolutional VAE of pictures of any size: its sizes, its torch twin, its training."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from jaxae import CONV_VAE, ConvVAE, ConvVAEConfig, InputError, fit, load_run
from jaxae.data.dataset import Dataset, Split
from jaxae.network.models import build
from jaxae.training.plots import draw_run
from jaxae.training.runtime import make_mesh

SIZES = [(9, 13, 2, (4, 5)), (16, 8, 3, (3, 4, 6)), (5, 4, 1, (7,)), (33, 64, 3, (2, 3, 4, 5, 6))]
RNG = np.random.default_rng(0)


def small(height: int = 9, width: int = 13, channels: int = 3, *, count: int = 24) -> Dataset:
    """Blots of two colours, one for each class."""
    labels = np.arange(count) % 2
    images = RNG.integers(0, 90, (count, height, width, channels))
    images[labels == 1, :, : width // 2, 0] += 150
    images = images.astype(np.uint8)
    return Dataset("blots", Split(images[:16], labels[:16]), Split(images[16:], labels[16:]), 2)


def training(**settings: Any) -> Any:
    own = {"height": 9, "width": 13, "widths": (4, 5), "num_latent": 3, "batch_size": 8, "epochs": 2}
    return CONV_VAE.replace(**(own | settings))


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize(("height", "width", "channels", "widths"), SIZES)
def test_an_image_comes_back_in_its_own_size(height, width, channels, widths, classes):
    config = ConvVAEConfig(4, classes, height=height, width=width, channels=channels, widths=widths)
    model = ConvVAE(config, rngs=nnx.Rngs(0))
    assert isinstance(build(config, rngs=nnx.Rngs(0)), ConvVAE)
    images = RNG.random((3, height, width, channels), np.float32)
    label = np.array([0, 2, 1]) if classes else None
    eps = np.zeros((3, 4), np.float32)
    forward = nnx.jit(lambda model: model(images, label, eps=eps))
    out = forward(model)
    assert out.logits.shape == images.shape
    assert out.mean.shape == (3, 4)
    other = ConvVAE(replace(config, lowering="plain"), rngs=nnx.Rngs(0))
    np.testing.assert_allclose(out.logits, forward(other).logits, atol=1e-5)


def test_the_class_is_heard_on_both_sides():
    model = ConvVAE(ConvVAEConfig(4, 3, height=8, width=8, channels=1, widths=(4,)), rngs=nnx.Rngs(0))
    images, eps = RNG.random((1, 8, 8, 1), np.float32), np.zeros((1, 4), np.float32)
    first, second = (model.encode(images, np.array([label]))[0] for label in (0, 1))
    assert np.abs(first - second).max() > 1e-3
    first, second = (model.decode(eps, np.array([label])) for label in (0, 1))
    assert np.abs(first - second).max() > 1e-3


@pytest.mark.parametrize("shape", [(3, 9, 13, 3), (3, 13, 9, 2), (3, 28, 28, 1)])
def test_images_of_another_shape_are_refused(shape):
    model = ConvVAE(ConvVAEConfig(4, height=9, width=13, channels=2, widths=(4,)), rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match=r"expected images \[batch, 9, 13, 2\], got \["):
        model.encode(np.zeros(shape, np.float32))


def test_data_of_another_shape_are_refused_before_a_training():
    with pytest.raises(InputError, match="expected images of shape Nx9x14x3, got"):
        fit(training(width=14), small())


@pytest.mark.parametrize("classes", [0, 2])
def test_training_lowers_the_cost_and_figures_are_in_colour(classes, tmp_path):
    data = small()
    config = training(num_classes=classes, epochs=8, learning_rate=0.01)
    result = fit(config, data, run_dir=tmp_path / "run", mesh=make_mesh(devices=1))
    costs = [line["test_cost"] for line in result.metrics if "test_cost" in line]
    assert costs[-1] < costs[0] - 5
    read, model = load_run(tmp_path / "run")
    assert read == config.replace(data=read.data)
    images = data.test.images.astype(np.float32) / 255
    label = data.test.labels if classes else None
    assert isinstance(model, ConvVAE)
    assert isinstance(result.model, ConvVAE)
    np.testing.assert_array_equal(model.encode(images, label)[0], result.model.encode(images, label)[0])
    drawn = draw_run(tmp_path, result.model, result.metrics, data)
    from matplotlib.image import imread

    picture = imread(tmp_path / "reconstructions.png")
    assert np.ptp(picture[..., :3], axis=-1).max() > 0.3  # grey has three equal channels
    assert {"samples.png", "latent_map.png", "manifold.png", "costs.png"} <= {*drawn}


def test_a_resumed_training_ends_as_one_that_was_not(tmp_path):
    data, mesh = small(), make_mesh(devices=1)
    whole = fit(training(epochs=3), data, run_dir=tmp_path / "whole", mesh=mesh)
    fit(training(epochs=2), data, run_dir=tmp_path / "run", mesh=mesh, checkpoint_seconds=0)
    resumed = fit(training(epochs=3), data, run_dir=tmp_path / "run", mesh=mesh, resume=True)
    same = jax.tree.map(
        np.array_equal, nnx.to_pure_dict(nnx.state(whole.model)), nnx.to_pure_dict(nnx.state(resumed.model))
    )
    assert all(jax.tree.leaves(same))


def test_results_do_not_depend_on_the_number_of_devices(x64):
    data, config = small(), training(dtype="float64", batch_size=7, epochs=3)
    one, three = (fit(config, data, mesh=make_mesh(devices=count)).model for count in (1, 3))
    gaps = jax.tree.map(
        lambda a, b: np.abs(np.asarray(a) - np.asarray(b)).max(),
        *(nnx.to_pure_dict(nnx.state(one)) for one in (one, three)),
    )
    assert max(jax.tree.leaves(gaps)) < 1e-12  # measured: 3e-16
