"""Generation: class-conditional samples, judged by a classifier that saw real images only."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int, UInt8

from jaxae.bounds import Count, CountOrZero, Seed, check, check_fits
from jaxae.cli import default
from jaxae.config import CONDITIONAL_VAE, ConditionalVAEConfig, RunConfig, VAEConfig
from jaxae.data.dataset import Dataset
from jaxae.errors import InputError
from jaxae.network.apply import decode
from jaxae.network.vae import VAE
from jaxae.pretrained.card import model_card
from jaxae.storage import npz
from jaxae.storage.files import check_writable
from jaxae.training.run_folder import run_files
from jaxae.usecases.classifier import Judge, train_judge
from jaxae.usecases.compress.codec import to_bytes
from jaxae.usecases.gallery import draw_gallery
from jaxae.usecases.method_table import MethodTable, Shown, columns_of
from jaxae.usecases.mixture import mixture_samples
from jaxae.usecases.model_source import UseCaseSettings, load_or_train
from jaxae.usecases.picture import collage, picture_shape, write_pixels
from jaxae.usecases.samplers import Posteriors, SamplerName, draw_codes

# The samplers, and what the table calls their codes' origin.
SAMPLERS: dict[SamplerName, str] = {
    "prior": "the prior",
    "aggregated": "the aggregated posterior",
    "rejection": "the prior, by rejection",
}

RECIPES: dict[str, RunConfig] = {
    "post": CONDITIONAL_VAE,
    # Without the leaky_relu before the sigmoid a pixel can be black; a heavier KL term draws the codes of a class
    # towards the prior, and its samples towards what the decoder knows.
    "sharp": CONDITIONAL_VAE.replace(output_leaky_relu=False, beta=3.0),
}
_READY = "cvae-mnist"
_REAL = "real training images"


@dataclass(frozen=True, kw_only=True)
class GenerateSettings(UseCaseSettings):
    """What is generated, or compared; a run is one of a conditional VAE.

    Attributes:
        also: Folders of further runs for the table.
        out: File (.png or .npz) to write samples to, in place of the table.
        label: Class of the samples to write.
        count: Number of samples.
        sampler: Origin of the codes: the prior, the aggregated posterior, or rejection sampling.
        recipe: Model to train: the post's own, or sharp, without the last leaky_relu and with a beta of 3.
        epochs: Number of passes over the training set of models that are trained.
        seed: Seed of the samples.
    """

    also: Annotated[tuple[Path, ...], default("none")] = ()
    out: Annotated[Path | None, default("no file, but a table", "PATH")] = None
    label: Annotated[CountOrZero | None, default("all classes in turn", "INT")] = None
    count: Annotated[Count | None, default("64 to write, 10,000 in the table", "INT")] = None
    sampler: SamplerName = "rejection"
    recipe: Annotated[
        Literal["post", "sharp"] | None, default(f"both in a table; with --out, the pretrained {_READY} is used")
    ] = None
    epochs: Annotated[CountOrZero | None, default("50", "INT")] = None
    seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.out is not None:
            self.refuse_table("--out")
        elif self.count == 1:
            raise InputError("expected a --count of 2 or more for the table, whose distance needs a spread, got 1")

    def outputs(self) -> list[Path | None]:
        """The files to write."""
        return [*super().outputs(), self.out]

    def inputs(self) -> list[Path]:
        """What is read, so that no output may replace it."""
        return [*super().inputs(), *run_files(*self.also)]

    def recipes(self) -> list[RunConfig]:
        """The trainings that are asked for, all where none is named."""
        chosen = list(RECIPES.values()) if self.recipe is None else [RECIPES[self.recipe]]
        return chosen if self.epochs is None else [config.replace(epochs=self.epochs) for config in chosen]


@dataclass(frozen=True)
class GenerationRow:
    """How a judge takes the samples of one model and sampler; shares in percent."""

    model: Annotated[str, Shown("model")]
    sampler: Annotated[str, Shown("codes drawn from")]
    kind: Literal["real", "generated"]
    accuracy: Annotated[float, Shown("taken for their class (%)", "higher", 2)]
    frechet: Annotated[float, Shown("Fréchet distance", "lower", 1)]
    acceptance: Annotated[float | None, Shown("proposals accepted (%)", digits=2)]


@dataclass(frozen=True, eq=False)
class GenerationComparison:
    """Models and samplers side by side.

    Attributes:
        models: The models compared, by the names that the table gives them.
        seed: Seed of the figure's samples.
    """

    table: MethodTable[GenerationRow]
    models: Mapping[str, VAE]
    dataset: Dataset
    seed: int

    def draw(self, path: Path) -> None:
        """Draw samples, interpolations and a traversal of the last model."""
        name, model = list(self.models.items())[-1]
        draw_gallery(path, model, self.dataset, title=f"{name}, on {self.dataset.name}", seed=self.seed)


def run(settings: GenerateSettings) -> GenerationComparison | None:
    """Write samples where a file is named; else compare models of runs, or of every recipe.

    Raises:
        InputError: If data, run or a file to write is not there, or the count is below 1.
    """
    count = settings.count or (10_000 if settings.out is None else 64)
    _check_count(count)  # before data are read
    dataset, mesh = settings.open(128)
    if settings.out is not None:
        _write_samples(settings, settings.out, count, dataset, mesh)
        return None
    _wanted_labels(settings.label, count, dataset.num_classes)
    if settings.model_dir is not None:
        sources = [(folder, CONDITIONAL_VAE) for folder in (settings.model_dir, *settings.also)]
    else:
        sources = [(None, recipe) for recipe in settings.recipes()]
    found = [_load_or_train(folder, recipe, dataset, mesh) for folder, recipe in sources]
    models = {_describe(config): model for config, model in found}
    return compare_generation(models, dataset, train_judge(dataset), count=count, seed=settings.seed)


def _write_samples(settings: GenerateSettings, path: Path, count: int, dataset: Dataset, mesh: Mesh) -> None:
    check_request(path, settings.label, count, dataset.num_classes)
    folder = settings.model_dir
    if folder is None and settings.recipe is None and settings.epochs is None:
        folder = model_card(_READY).folder
    # The last of all recipes is the sharp one.
    _, model = _load_or_train(folder, settings.recipes()[-1], dataset, mesh)
    sampler, label, seed = settings.sampler, settings.label, settings.seed
    generate_file(path, model, dataset, sampler=sampler, label=label, count=count, seed=seed)


def _load_or_train(model_dir: Path | None, recipe: RunConfig, dataset: Dataset, mesh: Mesh) -> tuple[RunConfig, VAE]:
    batch_size = min(recipe.train.batch_size, len(dataset.train.labels))
    recipe = recipe.replace(num_classes=dataset.num_classes, data=dataset.name, batch_size=batch_size)
    config, model = load_or_train(model_dir, recipe, dataset, mesh=mesh, show_progress=True)
    assert isinstance(model, VAE)
    if model.config.num_classes != dataset.num_classes:
        raise InputError(
            f"expected a model conditioned on the {dataset.num_classes} classes of {dataset.name}, "
            f"got one of {model.config.num_classes}"
        )
    return config, model


def _describe(config: RunConfig) -> str:
    """What tells a model from the post's, and for how long it was trained."""
    assert isinstance(config.model, VAEConfig)
    whose, no_leaky_relu = "dense", False
    if isinstance(config.model, ConditionalVAEConfig):
        whose, no_leaky_relu = "the post's", not config.model.output_leaky_relu
    differences = {
        "no last leaky_relu": no_leaky_relu,
        f"{config.model.num_latent} latents": config.model.num_latent != 50,
        f"beta {config.train.beta:g}": config.train.beta != CONDITIONAL_VAE.train.beta,
    }
    name = ", ".join(text for text, differs in differences.items() if differs) or "as it is"
    return f"{whose} CVAE, {name}, {config.train.epochs} epochs"


def generate_file(
    path: Path, model: VAE, dataset: Dataset, *, sampler: SamplerName, label: int | None, count: int, seed: int = 0
) -> None:
    """Write samples: a .npz file of images and labels, or one picture of them side by side.

    Args:
        path: File to write, whose name ends in .npz, or as a lossless picture's does.
        model: Model that decodes.
        dataset: Data set whose training images the aggregated posterior is of.
        sampler: Origin of the codes.
        label: Class of all samples; None lets the classes take turns.
        count: Number of samples.
        seed: Seed of the samples.

    Raises:
        InputError: If there is no such class or file format, or the file cannot be written.
    """
    labels = _wanted_labels(label, count, dataset.num_classes)
    codes = draw_codes(sampler, labels, Posteriors.of(model, dataset.train), seed=seed).codes
    images = to_bytes(decode(model, codes, labels))
    if path.suffix == ".npz":
        npz.write(path, {"images": images, "labels": labels})
    else:
        write_pixels(path, collage(images)[0])


def check_request(path: Path, label: int | None, count: int, num_classes: int) -> None:
    """Refuse, before any training, what `generate_file` would refuse after it.

    Raises:
        InputError: If there is no such class or file format, or the file cannot be written.
    """
    check_writable(path)
    if path.suffix == ".npy":
        raise InputError(f"expected a name ending in .npz or .png, got {path}")
    picture_shape(path, (28, 28))
    _wanted_labels(label, count, num_classes)


def compare_generation(
    models: Mapping[str, VAE],
    dataset: Dataset,
    judge: Judge,
    *,
    count: int = 10_000,
    seed: int = 0,
    mixture_components: int = 10,
) -> GenerationComparison:
    """Score models and samplers, a Gaussian mixture on PCA codes, and real images.

    Args:
        models: Models by the names that the table gives them.
        dataset: Data set whose training images samplers and the mixture know.
        judge: Classifier trained on real images, which has seen none of a model's.
        count: Number of samples in each row, the classes taking turns.
        seed: Seed of all samples.
        mixture_components: Largest number of Gaussians of each class.
    """
    labels = _wanted_labels(None, count, dataset.num_classes)
    rows: list[GenerationRow] = []

    def score(model: str, sampler: str, images: np.ndarray, acceptance: float | None = None) -> None:
        accuracy, frechet = judge.judge(images, labels)
        share = None if acceptance is None else 100 * acceptance
        kind = "real" if model == _REAL else "generated"
        rows.append(GenerationRow(model, sampler, kind, 100 * accuracy, frechet, share))

    for name, model in models.items():
        posteriors = Posteriors.of(model, dataset.train)
        for sampler, origin in SAMPLERS.items():
            draw = draw_codes(sampler, labels, posteriors, seed=seed)
            score(name, origin, decode(model, draw.codes, labels), draw.acceptance)
    score("PCA-50", "a Gaussian mixture of each class", mixture_samples(dataset, labels, mixture_components, seed))
    score(_REAL, "-", _real_images(dataset, labels, seed))
    table = MethodTable(
        f"Class-conditional generation on {dataset.name}",
        columns_of(GenerationRow),
        tuple(rows),
        settings={
            "samples per row": count,
            "seed": seed,
            "training images": len(dataset.train.labels),
            "test images": len(dataset.test.labels),
            "judge's test accuracy": f"{100 * judge.accuracy:.2f} %",
        },
        notes=(
            "The judge is a convolutional classifier trained on the real training images alone. The Fréchet distance "
            "is between Gaussians fitted to its last hidden layer, on samples and on the real test images; it is no "
            "Inception distance.",
            "The aggregated posterior draws a training image, then a code of its posterior. Rejection sampling "
            "proposes codes of the prior, and accepts them by the exact ratio of the aggregated posterior's density "
            "to the prior's, over its 0.99 quantile.",
            f"The mixture has {mixture_components} Gaussians of full covariance per class, by up to 50 rounds of EM. "
            "The quantile of the rejection was chosen by the judge's figures on the post's model; nothing else was.",
        ),
        group="kind",
    )
    return GenerationComparison(table, models, dataset, seed)


def _wanted_labels(label: int | None, count: int, num_classes: int) -> np.ndarray:
    _check_count(count)
    if label is None:
        return (np.arange(count) % num_classes).astype(np.int32)
    if not 0 <= label < num_classes:
        raise InputError(f"expected a label from 0 to {num_classes - 1}, got {label}")
    return np.full(count, label, np.int32)


def _check_count(count: int) -> None:
    check("count", count, Count)
    check_fits("samples", count * 28 * 28 * 5)  # as float32 and as bytes


def _real_images(dataset: Dataset, labels: Int[np.ndarray, " n"], seed: int) -> UInt8[np.ndarray, "n 28 28 1"]:
    generator = np.random.default_rng(seed)
    rows = [generator.choice(np.flatnonzero(dataset.train.labels == label)) for label in labels]
    return dataset.train.images[rows]
