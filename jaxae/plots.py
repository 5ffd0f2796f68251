"""Figures of a training: costs, reconstructions, samples of each class, the latent space.

They are drawn without pyplot, whose import costs more than the drawing, and read in black and white: lines differ in
dashes, classes in their digit.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from einops import rearrange
from jaxtyping import Float, Int

from jaxae.data.dataset import Dataset
from jaxae.data.pixels import as_unit_float
from jaxae.network.apply import decode, encode, reconstruct
from jaxae.network.models import Autoencoder, Model, with_parameters
from jaxae.network.parameters import parameters_of
from jaxae.network.vae import VAE
from jaxae.storage.files import whole_or_absent

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

_MAPPED = 2000
_AT_ONCE = 128


def draw_run(folder: Path, model: Model, metrics: Sequence[Mapping[str, float]], dataset: Dataset) -> list[str]:
    """Draw what a run directory shows of its model, on the test set; the names of the figures."""
    images, labels = dataset.test
    quick = _quickly_compiled(model)
    names = ["reconstructions.png", "latent_map.png"]
    if not isinstance(model, Autoencoder):
        names.insert(0, "samples.png")
        plot_samples(folder / "samples.png", model)
    shown = as_unit_float(images[:15])
    decoded = reconstruct(quick, shown, labels[:15], rows=_AT_ONCE)
    plot_reconstructions(folder / "reconstructions.png", shown, decoded)
    codes = encode(quick, images[:_MAPPED], labels[:_MAPPED], rows=_AT_ONCE)
    plot_latent_map(folder / "latent_map.png", codes, labels[:_MAPPED])
    if metrics:
        names.append("costs.png")
        plot_costs(folder / "costs.png", metrics)
    return names


def _quickly_compiled(model: Model) -> Any:
    """The model in the lowering that compiles faster: a figure needs few passes."""
    return with_parameters(dataclasses.replace(model.config, lowering="plain"), parameters_of(model))


def plot_costs(path: Path, metrics: Sequence[Mapping[str, float]]) -> None:
    """Draw the terms of the cost against steps: batches as a line, the test set as points."""
    batches = [line for line in metrics if "cost" in line]
    tests = [line for line in metrics if "test_cost" in line]
    terms = {"reconstruction": "reconstruction"}
    if any(line["test_kl"] for line in tests):
        terms["kl"] = "KL divergence"
    figure, axes = new_figure(len(terms), 1, (7, 2.6 * len(terms) + 0.6))
    for axis, (term, name) in zip(axes[:, 0], terms.items(), strict=True):
        axis.plot([m["step"] for m in batches], [m[term] for m in batches], "-", color="0.6", label="training batch")
        axis.plot([m["step"] for m in tests], [m[f"test_{term}"] for m in tests], "k.--", label="test set")
        axis.set_ylabel(f"{name}\n(nats per image)")
        axis.grid(alpha=0.3)
    axes[0, 0].set_title("Cost in training")
    axes[0, 0].legend()
    axes[-1, 0].set_xlabel("step")
    save_figure(figure, path)


def plot_reconstructions(
    path: Path, originals: Float[np.ndarray, "n 28 28 1"], reconstructions: Float[np.ndarray, "n 28 28 1"]
) -> None:
    """Draw test images over their reconstructions."""
    figure, axes = new_figure(1, 1, (0.8 * len(originals), 2.0))
    draw_tiles(axes[0, 0], np.concatenate([originals, reconstructions]), ["original", "decoded"])
    axes[0, 0].set_title("Test images and their reconstructions")
    save_figure(figure, path)


def plot_samples(path: Path, model: VAE, *, each: int = 10, seed: int = 0) -> None:
    """Draw samples of the prior, a row for each class; without classes, as many rows."""
    classes = model.config.num_classes
    labels = np.repeat(np.arange(min(classes, 62) or 10), each)
    codes = jax.random.normal(jax.random.key(seed), (len(labels), model.config.num_latent))
    samples = decode(_quickly_compiled(model), np.asarray(codes), labels, rows=_AT_ONCE)
    rows = len(labels) // each
    figure, axes = new_figure(1, 1, (0.65 * each + 0.4, 0.65 * rows + 0.5))
    draw_tiles(axes[0, 0], samples, range(rows) if classes else [""] * rows)
    axes[0, 0].set_title("Samples of the prior" + (", a row for each class" if classes else ""))
    save_figure(figure, path)


def plot_latent_map(path: Path, codes: Float[np.ndarray, "n code"], labels: Int[np.ndarray, " n"]) -> None:
    """Draw codes along their first two principal components, each as the digit of its class."""
    plane, shares = principal_plane(codes)
    figure, axes = new_figure(1, 1, (7, 6.5))
    scatter_classes(axes[0, 0], plane, labels)
    axes[0, 0].set(
        xlabel=f"first principal component ({shares[0]:.0%} of the variance)",
        ylabel=f"second principal component ({shares[1]:.0%} of the variance)",
        title=f"The latent space: codes of {len(codes)} test images, by class",
    )
    save_figure(figure, path)


def scatter_classes(
    axis: "matplotlib.axes.Axes", points: Float[np.ndarray, "n 2"], labels: Int[np.ndarray, " n"]
) -> None:
    """Scatter points on an axis, each as the coloured digit of its class."""
    from matplotlib import colormaps

    classes = np.unique(labels)
    colours = colormaps["tab10" if len(classes) <= 10 else "nipy_spectral"]
    for number, label in enumerate(classes):
        chosen = points[np.asarray(labels) == label]
        colour = colours(number if len(classes) <= 10 else number / len(classes))
        axis.scatter(*chosen.T, s=26, marker=f"${label}$", color=colour, linewidths=0.3)


def principal_plane(codes: Float[np.ndarray, "n code"]) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "2"]]:
    """Codes along their two principal components, and each one's share of the variance."""
    centred = codes - codes.mean(0, keepdims=True)
    if centred.shape[1] < 2:
        centred = np.pad(centred, ((0, 0), (0, 1)))
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    return left[:, :2] * values[:2], (values**2 / max((values**2).sum(), 1e-30))[:2]


def new_figure(rows: int, columns: int, size: tuple[float, float]) -> tuple["matplotlib.figure.Figure", np.ndarray]:
    """A figure of that size in inches, and its axes as a two-dimensional array."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained", dpi=120)
    return figure, figure.subplots(rows, columns, squeeze=False)


def draw_images(
    axes: Sequence["matplotlib.axes.Axes"] | np.ndarray, images: Float[np.ndarray, "n 28 28 1"], name: str = ""
) -> None:
    """Draw an image on each axis, black for 1, without ticks; the name stands left of the first."""
    for axis, image in zip(axes, images, strict=True):
        axis.imshow(image[..., 0], cmap="gray_r", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
    axes[0].set_ylabel(name, rotation=0, ha="right", va="center")


def draw_tiles(
    axis: "matplotlib.axes.Axes", images: Float[np.ndarray, "n 28 28 1"], names: Sequence[object], *, gap: int = 1
) -> None:
    """Show images on one axis, in as many rows as there are names; an axis each would be slow."""
    tiles = np.pad(images[..., 0], ((0, 0), (gap, gap), (gap, gap)), constant_values=np.nan)
    sheet = rearrange(tiles, "(row column) h w -> (row h) (column w)", row=len(names))
    axis.imshow(sheet, cmap="gray_r", vmin=0, vmax=1)
    axis.set_yticks((np.arange(len(names)) + 0.5) * tiles.shape[1], [str(name) for name in names])
    axis.set_xticks([])
    axis.tick_params(length=0)


def save_figure(figure: "matplotlib.figure.Figure", path: Path) -> None:
    """Write a figure, whole or absent."""
    with whole_or_absent(path) as temporary:
        figure.savefig(temporary)
