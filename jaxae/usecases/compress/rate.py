"""Rate against distortion: an autoencoder's codes beside PCA's, PNG, JPEG and WebP."""

import io
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxae.data.dataset import Dataset
from jaxae.errors import InputError
from jaxae.plots import save_figure
from jaxae.training.fit import fit
from jaxae.training.run_folder import load_run
from jaxae.usecases.compress.code_tables import CodeTables, bins_of
from jaxae.usecases.compress.codec import SIDE, Codec, prepare
from jaxae.usecases.image_quality import pooled_psnr
from jaxae.usecases.picture import collage, pillow
from jaxae.usecases.recipe import describe, shared_recipes
from jaxae.usecases.report import Column, Comparison
from jaxae.usecases.source import SourceFlags

STEPS = (1.0, 4.0, 8.0, 12.0, 16.0, 24.0)
PCA_SIZES = (32, 128)
JPEG_QUALITIES = (1, 5, 10, 20, 35, 50, 75, 90)
WEBP_QUALITIES = (0, 5, 10, 20, 35, 50, 75, 90)

COLUMNS = (
    Column("method", "method"),
    Column("quality", "quality"),
    Column("collage_bpp", "bits/pixel, one file for all", digits=4),
    Column("single_bpp", "bits/pixel, a file each", digits=3),
    Column("psnr", "PSNR (dB), one file", digits=2),
    Column("single_psnr", "PSNR (dB), a file each", digits=2),
)


@dataclass(frozen=True)
class Point:
    """One method at one quality.

    Attributes:
        method: Its name.
        quality: As the method takes it.
        collage_bpp: Bits a pixel, headers included, of all images in one file.
        psnr: dB of that file.
        single_bpp: Bits a pixel, headers included, of a file an image, over the first images.
        single_psnr: dB of those files.
        decoded: The first images as decoded from the one file.
    """

    method: str
    quality: str
    collage_bpp: float
    psnr: float
    single_bpp: float
    single_psnr: float
    decoded: UInt8[np.ndarray, "n 28 28 1"]


def run(
    flags: SourceFlags, *, also: Sequence[Path] = (), steps: Sequence[float] = STEPS
) -> Comparison:
    """Measure models of runs, or models trained now: the post's, a deeper one, a plain VAE.

    Raises:
        InputError: If data or run are not there, a model is conditional, a step is out of range,
            or a file to write is not to be written.
    """
    dataset, mesh = flags.open(128)
    check_steps(steps)
    codecs = {}
    if flags.run_dir is not None:
        for run_dir in (flags.run_dir, *also):
            config, model = load_run(run_dir)
            codecs[describe(config)] = prepare(config, model, dataset)
    else:
        for config in shared_recipes(dataset):
            print(f"training: {describe(config)}", file=sys.stderr)
            result = fit(config, dataset, mesh=mesh, show_progress=True)
            codecs[describe(config)] = prepare(config, result.model, dataset)
    comparison, points = compare_rates(codecs, dataset, steps=steps)
    comparison.publish(flags.json)
    if flags.figure is not None:
        draw_rates(flags.figure, points, dataset.test.images)
    return comparison


def check_steps(steps: Sequence[float]) -> None:
    """Refuse steps that no table is made for.

    Raises:
        InputError: If there are none, or one is out of range.
    """
    if not steps:
        raise InputError("expected at least one step, got none")
    for step in steps:
        bins_of(step)


def compare_rates(
    codecs: dict[str, Codec],
    dataset: Dataset,
    *,
    steps: Sequence[float] = STEPS,
    singles: int = 500,
    shown: int = 12,
    principal_sizes: Sequence[int] = PCA_SIZES,
) -> tuple[Comparison, list[Point]]:
    """Measure codecs, PCA of the same size, PNG, JPEG and WebP on the test images.

    Args:
        codecs: By the names that the table and the figure give them.
        dataset: Its test set is compressed, its training set is what PCA learns from.
        steps: Quantisation steps in grey levels, for the codecs and PCA.
        singles: How many images also go to a file each.
        shown: How many decoded images to keep for the figure.
        principal_sizes: Dimensions of PCA's codes.
    """
    images = dataset.test.images
    contenders = dict(codecs)
    for size in principal_sizes:
        contenders[f"PCA-{size}, same coder"] = _principal_codec(dataset, size)
    points = []
    for name, codec in contenders.items():
        for step in steps:
            files = [codec.compress(image[..., 0], step) for image in images[:singles]]
            alone = np.stack([codec.decompress(file) for file in files])[..., None]
            whole = codec.compress(images, step)
            points.append(
                _point(name, f"step {step:g}", images, whole, codec.decompress(whole), files, alone,
                       shown)
            )  # fmt: skip
    joined, columns = collage(images)
    for name, format_name, options in _formats():
        files = [_encode(image[..., 0], format_name, options) for image in images[:singles]]
        alone = np.stack([_decode(file) for file in files])[..., None]
        whole = _encode(joined, format_name, options)
        decoded = _uncollage(_decode(whole), columns, len(images))
        quality = f"q {options['quality']}" if "quality" in options else "lossless"
        points.append(_point(name, quality, images, whole, decoded, files, alone, shown))
    rows = tuple(
        {column.key: _finite(getattr(point, column.key)) for column in COLUMNS} for point in points
    )
    comparison = Comparison(
        f"Rate against distortion on {dataset.name}",
        COLUMNS,
        rows,
        settings={
            "test images": len(images),
            "in a file each": min(singles, len(images)),
            "training images": len(dataset.train.images),
        },
        notes=(
            "Bits count whole files, headers and all. One file: all test images as one array, or "
            "as one collage for PNG, JPEG and WebP.",
            "PNG, JPEG and WebP at their most thorough settings (optimize, method 6), in grey; "
            "nothing else was tuned.",
            "The model is not counted: as JPEG's tables and WebP's predictors, it is in the "
            "program. " + "; ".join(f"{n}: {_model_note(c, images)}" for n, c in codecs.items()),
            "PSNR is of the mean squared error over all pixels; - is infinite (lossless).",
        ),
    )
    return comparison, points


def draw_rates(
    path: Path, points: Sequence[Point], originals: UInt8[np.ndarray, "n 28 28 1"]
) -> None:
    """Draw PSNR against bits a pixel, and the first images at each method's lowest rates."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 8.6), layout="constrained", dpi=110)
    panels: Any = figure.subfigures(2, 1, height_ratios=(1.9, 1))
    top, bottom = panels
    axes = top.subplots(1, 2, sharex=True, sharey=True)
    names = list(dict.fromkeys(point.method for point in points))
    lossy = [name for name in names if name not in _LOSSLESS]
    styles = dict(zip(lossy, cycle(_STYLES), strict=False))
    for axis, rate, quality, title in (
        (axes[0], "collage_bpp", "psnr", f"all {len(originals)} images in one file"),
        (axes[1], "single_bpp", "single_psnr", "a file for each image"),
    ):
        for name in names:
            own = [point for point in points if point.method == name]
            x = [getattr(point, rate) for point in own]
            y = [getattr(point, quality) for point in own]
            if name in _LOSSLESS:
                axis.axvline(x[0], color="0.45", linestyle=_LOSSLESS[name], label=name)
            else:
                axis.plot(x, y, styles[name], color="k", markersize=5, mfc="white", label=name)
        axis.set_xscale("log")
        axis.set_xlabel("bits a pixel, headers included")
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3, which="both")
    axes[0].set_ylabel("PSNR (dB)")
    axes[1].legend(fontsize=7.5, loc="upper left")
    figure.suptitle("Rate against distortion")
    _draw_decoded(bottom, points, originals)
    save_figure(figure, path)


_STYLES = ("o-", "s-", "^--", "v--", "D:", "x-.", "P-.", "*:")
_LOSSLESS = {"PNG": (0, (1, 1)), "WebP lossless": (0, (5, 2))}


def _draw_decoded(figure: Any, points: Sequence[Point], originals: np.ndarray) -> None:
    rows = [("original", originals)]
    for name in dict.fromkeys(point.method for point in points):
        own = [p for p in points if p.method == name and not math.isinf(p.psnr)]
        if own:
            # Near 0.11 bits a pixel, or as near as the method can go.
            point = min(own, key=lambda p: abs(math.log(p.collage_bpp / 0.11)))
            rows.append(
                (f"{name}\n{point.collage_bpp:.2f} bits/pixel, {point.psnr:.1f} dB", point.decoded)
            )
    count = len(points[0].decoded)
    axes = figure.subplots(len(rows), 1)
    for axis, (name, images) in zip(axes, rows, strict=True):
        axis.imshow(np.concatenate(list(images[:count, ..., 0]), axis=1), cmap="gray_r")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=7)


def _point(
    method: str,
    quality: str,
    images: np.ndarray,
    whole: bytes,
    decoded: np.ndarray,
    files: list[bytes],
    alone: np.ndarray,
    shown: int,
) -> Point:
    return Point(
        method,
        quality,
        8 * len(whole) / images.size,
        pooled_psnr(images, decoded),
        8 * sum(map(len, files)) / alone.size,
        pooled_psnr(images[: len(alone)], alone),
        decoded[:shown],
    )


def _principal_codec(dataset: Dataset, size: int) -> Codec:
    from sklearn.decomposition import PCA

    flat = dataset.train.images.reshape(len(dataset.train.images), -1).astype(np.float32) / 255
    principal = PCA(size, random_state=0).fit(flat)

    def encode(images: np.ndarray) -> np.ndarray:
        return principal.transform(images.reshape(len(images), -1)).astype(np.float32)

    def decode(codes: np.ndarray) -> np.ndarray:
        return principal.inverse_transform(codes).reshape(-1, SIDE, SIDE, 1)

    codes = encode(flat)
    tables = CodeTables.of(codes, np.full(size, 1 / math.sqrt(flat.shape[1])))
    return Codec(encode, decode, tables, identity=b"pca".ljust(8, b"\0"))


def _formats() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        ("PNG", "png", {"optimize": True}),
        ("WebP lossless", "webp", {"lossless": True, "method": 6}),
        *(("JPEG", "jpeg", {"quality": q, "optimize": True}) for q in JPEG_QUALITIES),
        *(("WebP", "webp", {"quality": q, "method": 6}) for q in WEBP_QUALITIES),
    ]


def _encode(image: np.ndarray, format_name: str, options: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    pillow().fromarray(image).save(file, format_name, **options)
    return file.getvalue()


def _decode(content: bytes) -> np.ndarray:
    with pillow().open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("L"))


def _uncollage(joined: np.ndarray, columns: int, count: int) -> np.ndarray:
    grid = joined.reshape(-1, SIDE, columns, SIDE).transpose(0, 2, 1, 3)
    return grid.reshape(-1, SIDE, SIDE, 1)[:count]


def _model_note(codec: Codec, images: np.ndarray) -> str:
    return (
        f"{codec.num_bytes / 1000:,.0f} kB, {8 * codec.num_bytes / images.size:.2f} bits/pixel here"
    )


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and math.isinf(value) else value
