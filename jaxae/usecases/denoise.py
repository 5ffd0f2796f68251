"""Denoising: an autoencoder shown corrupted images, beside PCA, median and non-local means."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, UInt8

from jaxae.config import AutoencoderConfig, RunConfig, TrainConfig
from jaxae.data.dataset import Dataset
from jaxae.data.pixels import as_unit_float
from jaxae.errors import InputError
from jaxae.network.apply import reconstruct
from jaxae.network.models import Autoencoder
from jaxae.plots import draw_images, new_figure, save_figure
from jaxae.storage.files import whole_or_absent
from jaxae.training.program import Corruption
from jaxae.usecases.image_quality import mean_psnr, skimage, ssim
from jaxae.usecases.report import Column, Comparison
from jaxae.usecases.source import obtain

_SIDE = 28
_FEWEST_STEPS = 400
_TUNING_IMAGES = 25

Images = Float[np.ndarray, "n 28 28 1"]
Method = Callable[[Images], Images]


@dataclass(frozen=True)
class DenoiseSettings:
    """What is compared, and how it trains.

    Attributes:
        hidden: Widths of the autoencoder.
        epochs: Passes over the training set; None makes it 20, and at least 400 steps.
        batch_size: Examples a step.
        learning_rate: Adam's.
        measured: Test images that are corrupted and measured; non-local means takes its time.
        seed: Of weights, order, noise and PCA.
    """

    hidden: tuple[int, ...] = (512, 128)
    epochs: int | None = None
    batch_size: int = 256
    learning_rate: float = 0.001
    measured: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.measured < 1:
            raise InputError(f"expected 1 image or more to measure, got {self.measured}")

    def config(self, dataset: Dataset) -> RunConfig:
        """The training that these settings mean on a data set."""
        count = len(dataset.train.labels)
        batch_size = min(self.batch_size, count)
        epochs = self.epochs
        if epochs is None:
            epochs = max(20, -(-_FEWEST_STEPS // -(-count // batch_size)))
        train = TrainConfig(epochs, batch_size, self.learning_rate, self.seed)
        return RunConfig(AutoencoderConfig(hidden=self.hidden), train, dataset.name)


class Restoration(NamedTuple):
    """Test images, what each corruption made of them, and what each method made of that."""

    comparison: Comparison
    originals: Images
    restored: dict[str, dict[str, Images]]


def denoise(
    dataset: Dataset,
    settings: DenoiseSettings,
    corruptions: dict[str, Corruption],
    *,
    mesh: Mesh | None = None,
    run_dir: Path | None = None,
    keep: Path | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Restoration:
    """Corrupt test images and restore them, by an autoencoder for each corruption and by others.

    Args:
        dataset: The autoencoder and PCA learn on its training split.
        settings: Sizes, epochs, seed.
        corruptions: By name.
        mesh: The devices that share a batch.
        run_dir: As `denoiser` takes it.
        keep: As `denoiser` takes it.
        log: Told of each corruption when it is done.

    Raises:
        InputError: If scikit-image is not installed.
    """
    skimage()
    originals = as_unit_float(dataset.test.images[: settings.measured])
    sample = as_unit_float(dataset.train.images[:_TUNING_IMAGES])
    components = _components(dataset, settings.seed)
    rows, restored = [], {}
    for name, corruption in corruptions.items():
        model = denoiser(dataset, settings, name, corruption, mesh=mesh, run_dir=run_dir, keep=keep)
        shown = corrupted(originals, corruption, seed=settings.seed)
        noisy_sample = corrupted(sample, corruption, seed=settings.seed + 1)
        methods: dict[str, tuple[Method, str]] = {
            "as it came": (lambda images: images, ""),
            **_usual(components, sample, noisy_sample),
            "denoising autoencoder": (partial(reconstruct, model), "nothing"),
        }
        restored[name] = {}
        for method, (restore, tuned) in methods.items():
            result = restored[name][method] = restore(shown)
            rows.append(
                {
                    "corruption": str(corruption),
                    "method": method,
                    "psnr": mean_psnr(originals, result),
                    "ssim": ssim(originals, result),
                    "tuned": tuned,
                }
            )
        log(str(corruption))
    config = settings.config(dataset)
    assert isinstance(config.model, AutoencoderConfig)
    comparison = Comparison(
        f"Denoising on {dataset.name}",
        (
            Column("corruption", "corruption"),
            Column("method", "method"),
            Column("psnr", "PSNR (dB)", "higher", 2),
            Column("ssim", "SSIM", "higher", 4),
            Column("tuned", "tuned"),
        ),
        tuple(rows),
        {
            "training images": len(dataset.train.labels),
            "test images measured": len(originals),
            "autoencoder": "-".join(map(str, config.model.widths)),
            "epochs": "of the run" if run_dir else config.train.epochs,
            "batch size": config.train.batch_size,
            "learning rate": config.train.learning_rate,
            "seed": settings.seed,
        },
        (
            "PSNR and SSIM (7x7 windows) are means over images, range 1.",
            f"PCA, median and non-local means tuned by PSNR on {len(sample)} corrupted training "
            "images, for each corruption.",
        ),
        group="corruption",
    )
    return Restoration(comparison, originals, restored)


def denoiser(
    dataset: Dataset,
    settings: DenoiseSettings,
    name: str,
    corruption: Corruption,
    *,
    mesh: Mesh | None = None,
    run_dir: Path | None = None,
    keep: Path | None = None,
) -> Autoencoder:
    """An autoencoder that was trained to undo a corruption.

    Args:
        dataset: What to train on.
        settings: Sizes, epochs, seed.
        name: Of the corruption.
        corruption: Drawn anew for each image of each step, inside the compiled step.
        mesh: The devices that share a batch.
        run_dir: A run, or a folder of runs named for their corruptions; else one is trained.
        keep: A folder for the new run, in a folder named for the corruption.
    """
    if run_dir is not None and not (run_dir / "config.json").exists():
        run_dir = run_dir / name
    config = settings.config(dataset)
    folder = keep / name if keep else None
    _, model = obtain(run_dir, config, dataset, mesh=mesh, corrupt=corruption, keep=folder)
    assert isinstance(model, Autoencoder)
    return model


def corrupted(images: Images, corruption: Corruption, *, seed: int) -> Images:
    """Each image under its own draw of the corruption."""
    return np.asarray(_corrupt(jnp.asarray(images), jax.random.key(seed), corruption=corruption))


def denoise_file(source: Path, destination: Path, model: Autoencoder, *, tiles: bool) -> None:
    """Denoise a picture of one character, or with `tiles` of many.

    The network knows 28x28 characters, light on dark. A picture is made grey; one whose border is
    light is inverted for the network and back. A picture of one character is resized to 28x28, and
    written so; a sheet of tiles is cut into 28x28, its edges filled up with the background, and
    written in its own size.

    Raises:
        InputError: If the source cannot be read or the destination cannot be written.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(source) as picture:
            grey = picture.convert("L")
    except FileNotFoundError:
        raise InputError(f"expected an image file, got no {source}") from None
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"expected an image file, got {source}: {error}") from error
    if not tiles and grey.size != (_SIDE, _SIDE):
        grey = grey.resize((_SIDE, _SIDE), Image.Resampling.BOX)
    result = Image.fromarray(_denoise_grey(np.asarray(grey), model))
    try:
        with whole_or_absent(destination) as temporary:
            result.save(temporary)
    except (OSError, ValueError) as error:
        raise InputError(f"expected an image file to write, got {destination}: {error}") from error


def plot_restoration(path: Path, restoration: Restoration, *, each: int = 5) -> None:
    """Draw test images before and after: a row a method, a block of columns a corruption."""
    names = list(restoration.restored)
    methods = list(restoration.restored[names[0]])
    rows = len(methods) + 1
    each = min(each, len(restoration.originals))
    size = (0.75 * each * len(names) + 1.9, 0.8 * rows + 0.9)
    figure, axes = new_figure(rows, each * len(names), size)
    for block, name in enumerate(names):
        columns = slice(block * each, (block + 1) * each)
        draw_images(list(axes[0, columns]), restoration.originals[:each])
        for row, method in zip(axes[1:], methods, strict=True):
            draw_images(list(row[columns]), restoration.restored[name][method][:each])
        axes[0, block * each + each // 2].set_title(name)
    for row, method in zip(axes, ("original", *methods), strict=True):
        row[0].set_ylabel(method, rotation=0, ha="right", va="center")
    figure.suptitle("Test images, corrupted and restored (28x28 pixels)")
    save_figure(figure, path)


def _usual(
    components: "_Components", clean: Images, noisy: Images
) -> dict[str, tuple[Method, str]]:
    """What people use today, each with the settings that do best on a corrupted sample."""
    grids: dict[str, tuple[Callable[..., Images], dict[str, tuple]]] = {
        "PCA": (partial(_by_pca, components), {"size": (8, 16, 32, 64, 128, 256)}),
        "median filter": (_by_median, {"size": (3, 5, 7)}),
        "non-local means": (
            _by_nonlocal_means,
            {"patch": (3, 5), "h": (0.05, 0.1, 0.2, 0.3, 0.45), "sigma": (0.0, 0.15, 0.3)},
        ),
    }
    usual = {}
    for name, (run, grid) in grids.items():
        tried = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
        best = max(tried, key=lambda fixed, run=run: mean_psnr(clean, run(noisy, **fixed)))
        tuned = ", ".join(f"{key} {value}" for key, value in best.items())
        usual[name] = (partial(run, **best), tuned)
    return usual


class _Components(NamedTuple):
    mean: Float[np.ndarray, " pixels"]
    directions: Float[np.ndarray, "size pixels"]


def _components(dataset: Dataset, seed: int) -> _Components:
    from sklearn.decomposition import PCA

    rows = as_unit_float(dataset.train.images).reshape(len(dataset.train.images), -1)
    size = min(256, *rows.shape)
    fitted = PCA(size, svd_solver="randomized", random_state=seed).fit(rows)
    return _Components(np.asarray(fitted.mean_), np.asarray(fitted.components_))


def _by_pca(components: _Components, images: Images, *, size: int) -> Images:
    directions = components.directions[:size]
    centred = images.reshape(len(images), -1) - components.mean[None]
    restored = (centred @ directions.T) @ directions + components.mean[None]
    return np.clip(restored, 0, 1).astype(np.float32).reshape(images.shape)


def _by_median(images: Images, *, size: int) -> Images:
    from scipy.ndimage import median_filter

    return median_filter(images, (1, size, size, 1))


def _by_nonlocal_means(images: Images, *, patch: int, h: float, sigma: float) -> Images:
    # sigma and h are tuned against clean images, which serves it better than estimating sigma.
    filtered = partial(
        skimage().restoration.denoise_nl_means, patch_size=patch, patch_distance=7, h=h,
        sigma=sigma, fast_mode=True,
    )  # fmt: skip
    restored = np.stack([filtered(image) for image in images[..., 0]])
    return np.clip(restored, 0, 1)[..., None].astype(np.float32)


def _denoise_grey(pixels: UInt8[np.ndarray, "h w"], model: Autoencoder) -> np.ndarray:
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    light = np.median(border) > 127
    if light:
        pixels = 255 - pixels
    height, width = pixels.shape
    padded = np.pad(pixels, ((0, -height % _SIDE), (0, -width % _SIDE)))
    grid = padded.reshape(padded.shape[0] // _SIDE, _SIDE, -1, _SIDE).swapaxes(1, 2)
    tiles = as_unit_float(np.ascontiguousarray(grid)).reshape(-1, _SIDE, _SIDE, 1)
    restored = reconstruct(model, tiles).reshape(grid.shape).swapaxes(1, 2).reshape(padded.shape)
    result = np.round(255 * restored[:height, :width]).astype(np.uint8)
    return 255 - result if light else result


@partial(jax.jit, static_argnames="corruption")
def _corrupt(
    images: Float[Array, "n h w c"], key: Array, *, corruption: Corruption
) -> Float[Array, "n h w c"]:
    return jax.vmap(corruption)(jax.random.split(key, len(images)), images)
