"""Rate against distortion: an autoencoder's codes beside PCA's, PNG, JPEG and WebP."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from einops import rearrange
from jaxtyping import UInt8

from jaxae.bounds import SOME
from jaxae.cli import default
from jaxae.data.dataset import Dataset
from jaxae.storage.extra import extra
from jaxae.storage.figures import save_figure
from jaxae.training.run_folder import run_files
from jaxae.usecases.compress.code_tables import CodeTables, GreyLevels
from jaxae.usecases.compress.codec import SIDE, Codec, prepare
from jaxae.usecases.image_quality import pooled_psnr
from jaxae.usecases.method_table import MethodTable, Shown, columns_of
from jaxae.usecases.model_source import UseCaseSettings
from jaxae.usecases.picture import collage
from jaxae.usecases.principal import fit_pca, rows_of
from jaxae.usecases.recipe import models_to_compare

STEPS = (1.0, 4.0, 8.0, 12.0, 16.0, 24.0)
PCA_SIZES = (32, 128)
JPEG_QUALITIES = (1, 5, 10, 20, 35, 50, 75, 90)
WEBP_QUALITIES = (0, 5, 10, 20, 35, 50, 75, 90)

Encode = Callable[[UInt8[np.ndarray, "..."]], bytes]
Decode = Callable[[bytes], UInt8[np.ndarray, "..."]]


@dataclass(frozen=True, kw_only=True)
class RateSettings(UseCaseSettings):
    """What is measured; a run is one of an autoencoder or a plain VAE.

    Attributes:
        also: Folders of further runs for the table.
        steps: Quantisation steps in grey levels.
    """

    also: Annotated[tuple[Path, ...], default("none")] = ()
    steps: Annotated[tuple[GreyLevels, ...], SOME] = STEPS

    def inputs(self) -> list[Path]:
        """What is read, so that no output may replace it."""
        return [*super().inputs(), *run_files(*self.also)]


@dataclass(frozen=True)
class RateRow:
    """One method at one quality.

    Attributes:
        method: Name of the method.
        quality: Quality as the method takes it.
        collage_bpp: Bits per pixel, headers included, of all images in one file.
        single_bpp: Bits per pixel, headers included, of a file for each of the first images.
        psnr: PSNR of the one file in dB; None where it is lossless.
        single_psnr: PSNR of those files in dB; None where they are lossless.
    """

    method: Annotated[str, Shown("method")]
    quality: Annotated[str, Shown("quality")]
    collage_bpp: Annotated[float, Shown("bits per pixel, one file for all")]
    single_bpp: Annotated[float, Shown("bits per pixel, a file each", digits=3)]
    psnr: Annotated[float | None, Shown("PSNR (dB), one file", digits=2)]
    single_psnr: Annotated[float | None, Shown("PSNR (dB), a file each", digits=2)]


@dataclass(frozen=True, eq=False)
class RatePoint:
    """A row, and the first images as decoded from the one file."""

    row: RateRow
    decoded: UInt8[np.ndarray, "n 28 28 1"]


@dataclass(frozen=True, eq=False)
class RateComparison:
    """The methods side by side, and what they made of the test images."""

    table: MethodTable[RateRow]
    points: list[RatePoint]
    originals: UInt8[np.ndarray, "n 28 28 1"]

    def draw(self, path: Path) -> None:
        """Draw PSNR against bits per pixel, and the first images near 0.11 bits per pixel."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 8.6), layout="constrained", dpi=110)
        panels: Any = figure.subfigures(2, 1, height_ratios=(1.9, 1))
        top, bottom = panels
        axes = top.subplots(1, 2, sharex=True, sharey=True)
        methods: dict[str, list[RateRow]] = {}
        for point in self.points:
            methods.setdefault(point.row.method, []).append(point.row)
        lossy = [name for name in methods if name not in _LOSSLESS]
        styles = dict(zip(lossy, cycle(_STYLES), strict=False))
        for axis, rate, quality, title in (
            (axes[0], "collage_bpp", "psnr", f"all {len(self.originals)} images in one file"),
            (axes[1], "single_bpp", "single_psnr", "a file for each image"),
        ):
            for name, rows in methods.items():
                x, y = ([getattr(row, key) for row in rows] for key in (rate, quality))
                if name in _LOSSLESS:
                    axis.axvline(x[0], color="0.45", linestyle=_LOSSLESS[name], label=name)
                else:
                    axis.plot(x, y, styles[name], color="k", markersize=5, mfc="white", label=name)
            axis.set_xscale("log")
            axis.set_xlabel("bits per pixel, headers included")
            axis.set_title(title, fontsize=10)
            axis.grid(alpha=0.3, which="both")
        axes[0].set_ylabel("PSNR (dB)")
        axes[1].legend(fontsize=7.5, loc="upper left")
        figure.suptitle("Rate against distortion")
        _draw_decoded(bottom, self.points, self.originals)
        save_figure(figure, path)


def run(settings: RateSettings) -> RateComparison:
    """Measure models of runs, or models trained now: the post's, a deeper one, a plain VAE.

    Raises:
        InputError: If data or run are not there, a model is conditional, or a file to write is not to be written.
    """
    dataset, mesh = settings.open(128)
    models = models_to_compare(settings, settings.also, dataset, mesh)
    codecs = {name: prepare(*model, dataset) for name, model in models.items()}
    return compare_rates(codecs, dataset, steps=settings.steps)


def compare_rates(
    codecs: Mapping[str, Codec],
    dataset: Dataset,
    *,
    steps: Sequence[float] = STEPS,
    singles: int = 500,
    shown: int = 12,
    principal_sizes: Sequence[int] = PCA_SIZES,
) -> RateComparison:
    """Measure codecs, PCA of the same size, PNG, JPEG and WebP on the test images.

    Args:
        codecs: Codecs by the names that the table and the figure give them.
        dataset: Data set whose test images are compressed, and whose training images PCA learns from.
        steps: Quantisation steps in grey levels, for the codecs and PCA.
        singles: Number of images that also go to a file each.
        shown: Number of decoded images to keep for the figure.
        principal_sizes: Numbers of dimensions of PCA's codes.
    """
    images = dataset.test.images
    contenders = dict(codecs)
    for size in principal_sizes:
        contenders[f"PCA-{size}, same coder"] = _principal_codec(dataset, size)
    points: list[RatePoint] = []

    def measure(name: str, quality: str, encode: Encode, decode: Decode, whole: np.ndarray, columns: int = 0) -> None:
        files = [encode(image[..., 0]) for image in images[:singles]]
        alone = np.stack([decode(file) for file in files])[..., None]
        file = encode(whole)
        decoded = decode(file)
        if columns:
            tiles = rearrange(decoded, "(row h) (column w) -> (row column) h w 1", h=SIDE, column=columns)
            decoded = tiles[: len(images)]
        row = RateRow(
            name,
            quality,
            collage_bpp=8 * len(file) / images.size,
            single_bpp=8 * sum(map(len, files)) / alone.size,
            psnr=_finite(pooled_psnr(images, decoded)),
            single_psnr=_finite(pooled_psnr(images[: len(alone)], alone)),
        )
        points.append(RatePoint(row, decoded[:shown]))

    for name, codec in contenders.items():
        for step in steps:
            measure(name, f"step {step:g}", partial(codec.compress, step=step), codec.decompress, images)
    for name, format_name, options in _FORMATS:
        quality = f"q {options['quality']}" if "quality" in options else "lossless"
        measure(name, quality, partial(_encode, format_name, options), _decode, *collage(images))
    table = MethodTable(
        f"Rate against distortion on {dataset.name}",
        columns_of(RateRow),
        tuple(point.row for point in points),
        settings={
            "test images": len(images),
            "in a file each": min(singles, len(images)),
            "training images": len(dataset.train.images),
        },
        notes=(
            "Bits count whole files, headers and all. One file: all test images as one array, or "
            "as one collage for PNG, JPEG and WebP.",
            "PNG, JPEG and WebP at their most thorough settings (optimize, method 6), in grey; nothing else was tuned.",
            "The model is not counted: as JPEG's tables and WebP's predictors, it is in the "
            "program. " + "; ".join(f"{n}: {_model_note(c, images)}" for n, c in codecs.items()),
            "PSNR is of the mean squared error over all pixels; - is infinite (lossless).",
        ),
    )
    return RateComparison(table, points, images)


_FORMATS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("PNG", "png", {"optimize": True}),
    ("WebP lossless", "webp", {"lossless": True, "method": 6}),
    *(("JPEG", "jpeg", {"quality": q, "optimize": True}) for q in JPEG_QUALITIES),
    *(("WebP", "webp", {"quality": q, "method": 6}) for q in WEBP_QUALITIES),
)
_STYLES = ("o-", "s-", "^--", "v--", "D:", "x-.", "P-.", "*:")
_LOSSLESS = {"PNG": (0, (1, 1)), "WebP lossless": (0, (5, 2))}


def _draw_decoded(figure: Any, points: Sequence[RatePoint], originals: np.ndarray) -> None:
    rows = [("original", originals)]
    for name in dict.fromkeys(point.row.method for point in points):
        own = [point for point in points if point.row.method == name and point.row.psnr]
        if own:
            # Near 0.11 bits per pixel, or as near as the method can go.
            point = min(own, key=lambda point: abs(math.log(point.row.collage_bpp / 0.11)))
            said = f"{point.row.collage_bpp:.2f} bits/pixel, {point.row.psnr:.1f} dB"
            rows.append((f"{name}\n{said}", point.decoded))
    count = len(points[0].decoded)
    axes = figure.subplots(len(rows), 1)
    for axis, (name, images) in zip(axes, rows, strict=True):
        axis.imshow(np.concatenate(list(images[:count, ..., 0]), axis=1), cmap="gray_r")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=7)


def _principal_codec(dataset: Dataset, size: int) -> Codec:
    rows = rows_of(dataset.train.images)
    principal = fit_pca(rows, size, solver="auto")

    def encode(images: np.ndarray) -> np.ndarray:
        return principal.transform(images.reshape(len(images), -1)).astype(np.float32)

    def decode(codes: np.ndarray) -> np.ndarray:
        return principal.inverse_transform(codes).reshape(-1, SIDE, SIDE, 1)

    tables = CodeTables.of(encode(rows), np.full(size, 1 / math.sqrt(rows.shape[1])))
    return Codec(encode, decode, tables, identity=b"pca".ljust(8, b"\0"))


def _encode(format_name: str, options: dict[str, Any], image: np.ndarray) -> bytes:
    file = io.BytesIO()
    extra("PIL.Image", "pillow").fromarray(image).save(file, format_name, **options)
    return file.getvalue()


def _decode(content: bytes) -> np.ndarray:
    with extra("PIL.Image", "pillow").open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("L"))


def _model_note(codec: Codec, images: np.ndarray) -> str:
    return f"{codec.num_bytes / 1000:,.0f} kB, {8 * codec.num_bytes / images.size:.2f} bits/pixel here"


def _finite(decibels: float) -> float | None:
    return None if math.isinf(decibels) else decibels
