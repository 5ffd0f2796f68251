"""Denoising: an autoencoder shown corrupted images, beside PCA, median and non-local means."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from jaxae.bounds import Amount, Count, CountOrZero, PositiveAmount, Range, Seed, Share, Widths
from jaxae.cli import Switch, default
from jaxae.config import AutoencoderConfig, RunConfig, TrainConfig
from jaxae.data.dataset import Dataset
from jaxae.data.pixels import as_unit_float
from jaxae.errors import InputError
from jaxae.network.apply import reconstruct
from jaxae.network.models import Autoencoder
from jaxae.storage.extra import extra
from jaxae.storage.figures import save_figure
from jaxae.training.checks import check_training
from jaxae.training.plots import draw_images, new_figure
from jaxae.training.program import Corruption
from jaxae.training.run_folder import RunFolder
from jaxae.usecases.corruption import Gaussian, MaskedBlocks, SaltAndPepper
from jaxae.usecases.denoise_file import check_picture, denoise_file
from jaxae.usecases.denoise_filters import Images, Method, principal_components, usual_methods
from jaxae.usecases.image_quality import mean_psnr, ssim
from jaxae.usecases.method_table import MethodTable, Shown, columns_of, tell
from jaxae.usecases.model_source import UseCaseSettings, load_or_train
from jaxae.usecases.recipe import enough_epochs

_TUNING_IMAGES = 25


@dataclass(frozen=True, kw_only=True)
class DenoiseSettings(UseCaseSettings):
    """What is compared, and how it trains; a run is one, or a folder that --keep made.

    Attributes:
        corruption: Corruption to undo; a model is trained for each.
        deviation: Standard deviation of the Gaussian noise, in units of the pixels' range.
        share: Share of pixels turned black or white by salt-and-pepper noise.
        side: Side of the masked squares, in pixels.
        blocks: Number of masked squares.
        hidden: Widths of the autoencoder, from the input to the code.
        epochs: Number of passes over the training set.
        batch_size: Number of examples per step.
        learning_rate: Adam's learning rate.
        measured: Number of test images that are corrupted and measured; non-local means is slow.
        seed: Seed of weights, order, noise and PCA.
        keep: Folder to keep the trainings in, each as a run named after its corruption.
        image: Picture to denoise, in place of the comparison.
        out: File to write the denoised picture to.
        tiles: Whether the picture is a sheet of 28x28 characters rather than one character.
    """

    corruption: Literal["all", "gaussian", "salt-and-pepper", "masked-blocks"] = "all"
    deviation: PositiveAmount = 0.3
    share: Share = 0.3
    side: Annotated[int, Range(1, 28)] = 7
    blocks: Annotated[int, Range(1, 28 * 28)] = 3
    hidden: Widths = (512, 128)
    epochs: Annotated[CountOrZero | None, default("20, and at least 400 steps", "INT")] = None
    batch_size: Count = 256
    learning_rate: Amount = 0.001
    measured: Count = 1000
    seed: Seed = 0
    keep: Annotated[Path | None, default("no folder", "PATH")] = None
    image: Annotated[Path | None, default("no picture", "PATH")] = None
    out: Annotated[Path | None, default("no file", "PATH")] = None
    tiles: Switch = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.image is None) != (self.out is None):
            raise InputError("expected both --image and --out, or neither, got one")
        if self.image is not None and self.corruption == "all":
            raise InputError("expected the --corruption that --image suffers from, got all")
        if self.image is not None:
            self.refuse_table("--image")

    def outputs(self) -> list[Path | None]:
        """The files to write."""
        return [*super().outputs(), self.out]

    def inputs(self) -> list[Path]:
        """What is read, so that no output may replace it."""
        return [*super().inputs(), *filter(None, [self.image])]

    def config(self, dataset: Dataset) -> RunConfig:
        """The training that these settings mean on a data set."""
        count = len(dataset.train.labels)
        batch_size = min(self.batch_size, count)
        epochs = enough_epochs(count, batch_size, 400) if self.epochs is None else self.epochs
        train = TrainConfig(epochs, batch_size, self.learning_rate, self.seed)
        return RunConfig(AutoencoderConfig(hidden=self.hidden), train, dataset.name)

    def corruptions(self) -> dict[str, Corruption]:
        """The corruptions that are undone, by name.

        Raises:
            InputError: If a deviation, share or size is out of range.
        """
        kinds: dict[str, Corruption] = {
            "gaussian": Gaussian(self.deviation),
            "salt-and-pepper": SaltAndPepper(self.share),
            "masked-blocks": MaskedBlocks(self.side, self.blocks),
        }
        return kinds if self.corruption == "all" else {self.corruption: kinds[self.corruption]}


@dataclass(frozen=True)
class RestorationRow:
    """How near a method comes to the originals under one corruption."""

    corruption: Annotated[str, Shown("corruption")]
    method: Annotated[str, Shown("method")]
    psnr: Annotated[float, Shown("PSNR (dB)", "higher", 2)]
    ssim: Annotated[float, Shown("SSIM", "higher")]
    tuned: Annotated[str, Shown("tuned")]


@dataclass(frozen=True, eq=False)
class Restoration:
    """The methods side by side, and the test images as each restored them, by corruption and method."""

    table: MethodTable[RestorationRow]
    originals: Images
    restored: dict[str, dict[str, Images]]

    def draw(self, path: Path) -> None:
        """Draw test images before and after: a row a method, a block of columns a corruption."""
        blocks = {name: {"original": self.originals, **images} for name, images in self.restored.items()}
        rows = len(next(iter(blocks.values())))
        each = min(5, len(self.originals))
        figure, axes = new_figure(rows, each * len(blocks), (0.75 * each * len(blocks) + 1.9, 0.8 * rows + 0.9))
        for number, (name, block) in enumerate(blocks.items()):
            columns = axes[:, number * each : (number + 1) * each]
            columns[0, each // 2].set_title(name)
            for row, (method, images) in zip(columns, block.items(), strict=True):
                draw_images(row, images[:each], "" if number else method)
        figure.suptitle("Test images, corrupted and restored (28x28 pixels)")
        save_figure(figure, path)


def run(settings: DenoiseSettings) -> Restoration | None:
    """Compare the denoisers on test images; or denoise a picture, where one is named.

    Raises:
        InputError: If data, run, picture or a file to write is not there, or scikit-image is not installed.
    """
    corruptions = settings.corruptions()
    dataset, mesh = settings.open(settings.batch_size)
    if settings.image is None or settings.out is None:
        return denoise(dataset, settings, corruptions, mesh=mesh)
    check_picture(settings.out)
    ((name, corruption),) = corruptions.items()
    model = denoiser(dataset, settings, name, corruption, mesh=mesh)
    denoise_file(settings.image, settings.out, model, tiles=settings.tiles)
    return None


def denoise(
    dataset: Dataset, settings: DenoiseSettings, corruptions: Mapping[str, Corruption], *, mesh: Mesh | None = None
) -> Restoration:
    """Corrupt test images and restore them, by an autoencoder for each corruption and by others.

    The autoencoder and PCA learn on the training split. Standard error is told of each corruption that is done.

    Raises:
        InputError: If scikit-image is not installed.
    """
    # Before minutes of training.
    extra("skimage.metrics", "scikit-image")
    originals = as_unit_float(dataset.test.images[: settings.measured])
    sample = as_unit_float(dataset.train.images[:_TUNING_IMAGES])
    check_training(settings.config(dataset), dataset, mesh)
    principal = principal_components(dataset, settings.seed)
    rows, restored = [], {}
    for name, corruption in corruptions.items():
        model = denoiser(dataset, settings, name, corruption, mesh=mesh)
        shown = corrupted(originals, corruption, seed=settings.seed)
        noisy_sample = corrupted(sample, corruption, seed=settings.seed + 1)
        methods: dict[str, tuple[Method, str]] = {
            "as it came": (lambda images: images, ""),
            **usual_methods(principal, sample, noisy_sample),
            "denoising autoencoder": (partial(reconstruct, model), "nothing"),
        }
        restored[name] = {method: restore(shown) for method, (restore, _) in methods.items()}
        for method, result in restored[name].items():
            psnr, similarity = mean_psnr(originals, result), ssim(originals, result)
            rows.append(RestorationRow(str(corruption), method, psnr, similarity, tuned=methods[method][1]))
        tell(str(corruption))
    config = settings.config(dataset)
    assert isinstance(config.model, AutoencoderConfig)
    table = MethodTable(
        f"Denoising on {dataset.name}",
        columns_of(RestorationRow),
        tuple(rows),
        {
            "training images": len(dataset.train.labels),
            "test images measured": len(originals),
            "autoencoder": "-".join(map(str, config.model.widths)),
            "epochs": "of the run" if settings.model_dir else config.train.epochs,
            "batch size": config.train.batch_size,
            "learning rate": config.train.learning_rate,
            "seed": settings.seed,
        },
        (
            "PSNR and SSIM (7x7 windows) are means over images, range 1.",
            f"PCA, median and non-local means tuned by PSNR on {len(sample)} corrupted training images, for each "
            "corruption.",
        ),
        group="corruption",
    )
    return Restoration(table, originals, restored)


def denoiser(
    dataset: Dataset, settings: DenoiseSettings, name: str, corruption: Corruption, *, mesh: Mesh | None = None
) -> Autoencoder:
    """An autoencoder that was trained to undo a corruption.

    The settings' run, or the run of the corruption's name in their folder, takes the place of a training, in which
    the corruption is drawn anew for each image of each step, inside the compiled step.
    """
    model_dir = settings.model_dir
    if model_dir is not None and not RunFolder(model_dir).config_file.exists():
        model_dir = model_dir / name
    config = settings.config(dataset)
    folder = settings.keep / name if settings.keep else None
    _, model = load_or_train(model_dir, config, dataset, mesh=mesh, corrupt=corruption, keep=folder)
    assert isinstance(model, Autoencoder)
    return model


def corrupted(images: Images, corruption: Corruption, *, seed: int) -> Images:
    """Each image under its own draw of the corruption."""
    return np.asarray(_corrupt(jnp.asarray(images), jax.random.key(seed), corruption=corruption))


@partial(jax.jit, static_argnames="corruption")
def _corrupt(images: Float[Array, "n h w c"], key: Array, *, corruption: Corruption) -> Float[Array, "n h w c"]:
    return jax.vmap(corruption)(jax.random.split(key, len(images)), images)
