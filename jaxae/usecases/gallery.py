"""The figure of a generator: samples of each class, interpolations, and a latent traversal."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxae.data.dataset import Dataset
from jaxae.data.pixels import as_unit_float
from jaxae.network.apply import decode
from jaxae.network.vae import VAE
from jaxae.storage.figures import save_figure
from jaxae.training.plots import draw_tiles
from jaxae.usecases.samplers import Posteriors, SamplerName, draw_codes

_EACH = 10
_STEPS = 11


def draw_gallery(path: Path, model: VAE, dataset: Dataset, *, title: str, seed: int = 0) -> None:
    """Draw samples of the prior and of rejection sampling, interpolations, and a traversal."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 9.4), layout="constrained", dpi=100)
    panels: Any = figure.subfigures(2, 2)
    posteriors = Posteriors.of(model, dataset.train)
    classes = min(dataset.num_classes, 10)
    labels = np.repeat(np.arange(classes, dtype=np.int32), _EACH)
    samplers: dict[SamplerName, str] = {"prior": "codes of the prior", "rejection": "the same, by rejection sampling"}
    for panel, (sampler, name) in zip(panels[0], samplers.items(), strict=True):
        images = decode(model, draw_codes(sampler, labels, posteriors, seed=seed).codes, labels)
        _grid(panel, images, [str(label) for label in range(classes)], f"Samples: {name}", "class")
    rows, images = _interpolations(model, dataset, classes)
    _grid(panels[1][0], images, rows, "Interpolation between test images' codes", "classes")
    rows, images = _traversal(model, posteriors)
    _grid(panels[1][1], images, rows, "Traversal: one dimension from -3 to 3", "dimension")
    figure.suptitle(title)
    save_figure(figure, path)


def _interpolations(model: VAE, dataset: Dataset, classes: int) -> tuple[list[str], np.ndarray]:
    """From a test image of each class to one of the next."""
    images, labels = dataset.test
    pixels = as_unit_float(images)
    firsts = [int(np.argmax(labels == label)) for label in range(classes)]
    names, decoded = [], []
    for first, second in zip(firsts, np.roll(firsts, -1), strict=True):
        names.append(f"{labels[first]}-{labels[second]}")
        one, other = jnp.asarray(pixels[first]), jnp.asarray(pixels[second])
        decoded.append(model.interpolate(one, other, _STEPS, jnp.asarray(labels[[first, second]]))[..., :1])
    return names, np.concatenate(decoded)


def _traversal(model: VAE, posteriors: Posteriors) -> tuple[list[str], np.ndarray]:
    """The ten dimensions that the encoder uses most, each moved alone, for one class."""
    used = np.argsort(posteriors.mean.var(0))[::-1][:10]
    codes = np.kron(np.eye(posteriors.num_latent)[used], np.linspace(-3, 3, _STEPS)[:, None]).astype(np.float32)
    label = np.full(len(codes), model.config.num_classes // 2, np.int32)
    return [str(dimension) for dimension in used], decode(model, codes, label)


def _grid(panel: Any, images: np.ndarray, rows: list[str], title: str, label: str) -> None:
    axis = panel.subplots()
    draw_tiles(axis, images, rows, gap=0)
    axis.set_ylabel(label)
    axis.set_title(title, fontsize=10)
