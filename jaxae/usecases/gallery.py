"""The figure of a generator: samples of each class, interpolations, and a latent traversal."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxae.data.dataset import Dataset
from jaxae.data.pixels import as_unit_float
from jaxae.network.apply import decode
from jaxae.network.models import ConditionalVAE
from jaxae.plots import save_figure
from jaxae.usecases.samplers import Posteriors, SamplerName, draw_codes

_EACH = 10
_STEPS = 11


def draw_gallery(path: Path, model: ConditionalVAE, dataset: Dataset, *, title: str, seed: int = 0) -> None:
    """Draw samples of the prior and of rejection sampling, interpolations, and a traversal."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 9.4), layout="constrained", dpi=100)
    panels: Any = figure.subfigures(2, 2)
    posteriors = Posteriors.of(model, dataset.train)
    classes = min(dataset.num_classes, 10)
    labels = np.repeat(np.arange(classes, dtype=np.int32), _EACH)
    samplers: tuple[tuple[SamplerName, str], ...] = (
        ("prior", "codes of the prior"),
        ("rejection", "the same, by rejection sampling"),
    )
    for panel, (sampler, name) in zip(panels[0], samplers, strict=True):
        draw = draw_codes(sampler, labels, posteriors, seed=seed)
        images = decode(model, draw.codes, labels)
        _grid(panel, images, [str(label) for label in range(classes)], f"Samples: {name}", "class")
    rows, images = _interpolations(model, dataset, classes)
    _grid(panels[1][0], images, rows, "Interpolation between test images' codes", "classes")
    rows, images = _traversal(model, posteriors)
    _grid(panels[1][1], images, rows, "Traversal: one dimension from -3 to 3", "dimension")
    figure.suptitle(title)
    save_figure(figure, path)


def _interpolations(model: ConditionalVAE, dataset: Dataset, classes: int) -> tuple[list[str], np.ndarray]:
    """From a test image of each class to one of the next."""
    images, labels = dataset.test
    pixels = as_unit_float(images)
    firsts = [int(np.argmax(labels == label)) for label in range(classes)]
    names, decoded = [], []
    for index in range(classes):
        ends = (firsts[index], firsts[(index + 1) % classes])
        names.append(f"{labels[ends[0]]}-{labels[ends[1]]}")
        decoded.append(
            model.interpolate(
                jnp.asarray(pixels[ends[0]]), jnp.asarray(pixels[ends[1]]), _STEPS, jnp.asarray(labels[list(ends)])
            )[..., :1]
        )
    return names, np.concatenate([np.asarray(row) for row in decoded])


def _traversal(model: ConditionalVAE, posteriors: Posteriors) -> tuple[list[str], np.ndarray]:
    """The ten dimensions that the encoder uses most, each moved alone, for one class."""
    used = np.argsort(posteriors.mean.var(0))[::-1][:10]
    codes = np.zeros((len(used), _STEPS, posteriors.num_latent), np.float32)
    for row, dimension in enumerate(used):
        codes[row, :, dimension] = np.linspace(-3, 3, _STEPS)
    flat = codes.reshape(-1, posteriors.num_latent)
    label = np.full(len(flat), model.config.num_classes // 2, np.int32)
    return [str(dimension) for dimension in used], decode(model, flat, label)


def _grid(panel: Any, images: np.ndarray, rows: list[str], title: str, label: str) -> None:
    axis = panel.subplots()
    columns = len(images) // len(rows)
    height = images.shape[1]
    grid = images[..., 0].reshape(len(rows), columns, height, -1).transpose(0, 2, 1, 3)
    axis.imshow(grid.reshape(len(rows) * height, -1), cmap="gray_r", vmin=0, vmax=1)
    axis.set_xticks([])
    axis.set_yticks((np.arange(len(rows)) + 0.5) * height, rows)
    axis.tick_params(length=0)
    axis.set_ylabel(label)
    axis.set_title(title, fontsize=10)
