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
from jaxae.data.stream.streamed import StreamedDataset
from jaxae.network.apply import decode, encode
from jaxae.network.models import Autoencoder, Model, with_parameters
from jaxae.network.parameters import parameters_of
from jaxae.network.vae import VAE
from jaxae.storage.figures import save_figure

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

_MAPPED = 2000  # test images in the latent map
_SHOWN = 15  # test images beside their reconstructions
_AT_ONCE = 128


def draw_run(
    folder: Path,
    model: Model,
    metrics: Sequence[Mapping[str, float]],
    dataset: Dataset | StreamedDataset,
    *,
    whole: bool = True,
) -> list[str]:
    """Draw what a run directory shows of its model, on the test set; the names of the figures.

    Args:
        folder: Run directory.
        model: Model as it is.
        metrics: Lines of the run's metrics so far.
        dataset: Data set, whose test images are shown.
        whole: Whether all figures are drawn, or only those that are looked at while a model trains: samples and
            reconstructions.
    """
    quick = _quickly_compiled(model)
    # One size of batches for all figures: two programs are compiled, an encoder and a decoder.
    images, labels = (array[: _MAPPED if whole else _AT_ONCE] for array in dataset.test)
    codes = encode(quick, images, labels, rows=_AT_ONCE)
    drawn, classes = (codes[:0], labels[:0]) if isinstance(model, Autoencoder) else _codes_of_samples(model)
    decoded = decode(
        quick, np.concatenate([drawn, codes[:_SHOWN]]), np.concatenate([classes, labels[:_SHOWN]]), rows=_AT_ONCE
    ).reshape(-1, *images.shape[1:])
    names = ["reconstructions.png"]
    plot_reconstructions(folder / names[0], as_unit_float(images[:_SHOWN]), decoded[len(drawn) :])
    if not isinstance(model, Autoencoder):
        names.insert(0, "samples.png")
        plot_samples(folder / names[0], decoded[: len(drawn)], classes if model.config.num_classes else None)
    if whole:
        names += ["latent_map.png", "manifold.png"]
        plot_latent_map(folder / "latent_map.png", codes, labels)
        plot_manifold(folder / "manifold.png", quick, codes, images.shape[1:])
        if metrics:
            names.append("costs.png")
            plot_costs(folder / "costs.png", metrics)
    return names


def _codes_of_samples(model: VAE, *, each: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Codes of the prior, as many of each class, and their classes; without classes, ten times as many."""
    classes = np.repeat(np.arange(min(model.config.num_classes, 62) or 10, dtype=np.int32), each)
    codes = jax.random.normal(jax.random.key(seed), (len(classes), model.config.num_latent))
    return np.asarray(codes), classes


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
    path: Path, originals: Float[np.ndarray, "n h w c"], reconstructions: Float[np.ndarray, "n h w c"]
) -> None:
    """Draw test images over their reconstructions."""
    figure, axes = new_figure(1, 1, (0.8 * len(originals), 2.0))
    draw_tiles(axes[0, 0], np.concatenate([originals, reconstructions]), ["original", "decoded"])
    axes[0, 0].set_title("Test images and their reconstructions")
    save_figure(figure, path)


def plot_samples(
    path: Path, samples: Float[np.ndarray, "n h w c"], classes: Int[np.ndarray, " n"] | None, *, rows: int = 10
) -> None:
    """Draw samples of the prior: a row for each class, which they are in order of; without classes, in rows."""
    names = [""] * rows if classes is None else list(np.unique(classes))
    figure, axes = new_figure(1, 1, (0.65 * len(samples) / len(names) + 0.4, 0.65 * len(names) + 0.5))
    draw_tiles(axes[0, 0], samples, names)
    axes[0, 0].set_title("Samples of the prior" + ("" if classes is None else ", a row for each class"))
    save_figure(figure, path)


def plot_manifold(
    path: Path, model: Model, codes: Float[np.ndarray, "n code"], shape: tuple[int, ...], *, steps: int = 15
) -> None:
    """Draw what is decoded on the plane of the codes' two principal components, about their mean.

    A conditional model decodes one class there, the middle one.
    """
    plane, _, axes_of_plane = principal_plane(codes)
    way = np.linspace(-2, 2, steps)
    across, down = np.meshgrid(way, way[::-1])  # upwards, as in a map
    points = np.stack([across.ravel(), down.ravel()], 1) * plane.std(0)
    label = 0 if isinstance(model, Autoencoder) else model.config.num_classes // 2
    grid = (codes.mean(0) + points @ axes_of_plane).astype(codes.dtype)
    images = decode(model, grid, np.full(len(grid), label, np.int32), rows=_AT_ONCE)
    figure, axes = new_figure(1, 1, (0.45 * steps + 0.6, 0.45 * steps + 0.8))
    draw_tiles(axes[0, 0], images.reshape(-1, *shape), [f"{value:+.1f}" for value in way[::-1]], gap=0)
    conditional = not isinstance(model, Autoencoder) and model.config.num_classes
    axes[0, 0].set(
        title="The latent plane, decoded" + (f" as class {label}" if conditional else ""),
        xlabel="first principal component of the codes, from -2 to 2 standard deviations",
        ylabel="second principal component (standard deviations)",
    )
    save_figure(figure, path)


def plot_latent_map(path: Path, codes: Float[np.ndarray, "n code"], labels: Int[np.ndarray, " n"]) -> None:
    """Draw codes along their first two principal components, each as the digit of its class."""
    plane, shares, _ = principal_plane(codes)
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


def principal_plane(
    codes: Float[np.ndarray, "n code"],
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "2"], Float[np.ndarray, "2 code"]]:
    """Codes along their two principal components, each one's share of the variance, and the components.

    Where there are fewer than two, the others are zero.
    """
    centred = codes - codes.mean(0, keepdims=True)
    # By the covariance: a decomposition of thousands of codes would take longer than the drawing.
    variances, vectors = np.linalg.eigh(centred.T @ centred)
    shares = variances[::-1] / max(variances.sum(), 1e-30)
    missing = max(0, 2 - len(shares))
    shares, components = np.pad(shares, (0, missing))[:2], np.pad(vectors.T[::-1], ((0, missing), (0, 0)))[:2]
    return centred @ components.T, shares, components


def new_figure(rows: int, columns: int, size: tuple[float, float]) -> tuple["matplotlib.figure.Figure", np.ndarray]:
    """A figure of that size in inches, and its axes as a two-dimensional array."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained", dpi=120)
    return figure, figure.subplots(rows, columns, squeeze=False)


def show_pixels(axis: "matplotlib.axes.Axes", image: Float[np.ndarray, "h w c"]) -> None:
    """Show an image: in colour where it has three channels, else its first one, black for 1."""
    if image.shape[-1] == 3:
        axis.imshow(np.clip(image, 0, 1))
    else:
        axis.imshow(image[..., 0], cmap="gray_r", vmin=0, vmax=1)


def draw_images(
    axes: Sequence["matplotlib.axes.Axes"] | np.ndarray, images: Float[np.ndarray, "n h w c"], name: str = ""
) -> None:
    """Draw an image on each axis, without ticks; the name stands left of the first."""
    for axis, image in zip(axes, images, strict=True):
        show_pixels(axis, image)
        axis.set(xticks=[], yticks=[])
    axes[0].set_ylabel(name, rotation=0, ha="right", va="center")


def draw_tiles(
    axis: "matplotlib.axes.Axes", images: Float[np.ndarray, "n h w c"], names: Sequence[object], *, gap: int = 1
) -> None:
    """Show images on one axis, in as many rows as there are names; an axis each would be slow."""
    paper = np.nan if images.shape[-1] == 1 else 1.0
    tiles = np.pad(images, ((0, 0), (gap, gap), (gap, gap), (0, 0)), constant_values=paper)
    show_pixels(axis, rearrange(tiles, "(row column) h w c -> (row h) (column w) c", row=len(names)))
    axis.set_yticks((np.arange(len(names)) + 0.5) * tiles.shape[1], [str(name) for name in names])
    axis.set_xticks([])
    axis.tick_params(length=0)
