"""Generation: class-conditional samples, judged by a classifier that saw real images only."""

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from jaxae.config import CONDITIONAL_VAE, ConditionalVAEConfig, RunConfig
from jaxae.data.dataset import Dataset
from jaxae.data.pixels import as_unit_float
from jaxae.errors import InputError
from jaxae.network.apply import decode
from jaxae.network.models import ConditionalVAE
from jaxae.storage import npz
from jaxae.usecases.classifier import Judge, train_judge
from jaxae.usecases.compress.codec import to_bytes
from jaxae.usecases.gallery import draw_gallery
from jaxae.usecases.picture import collage, picture_shape, write_pixels
from jaxae.usecases.report import Column, Comparison, check_destination
from jaxae.usecases.samplers import Posteriors, SamplerName, draw_codes
from jaxae.usecases.source import SourceFlags, obtain

SAMPLERS: tuple[SamplerName, ...] = ("prior", "aggregated", "rejection")

COLUMNS = (
    Column("model", "model"),
    Column("sampler", "codes drawn from"),
    Column("accuracy", "taken for their class (%)", "higher", 2),
    Column("frechet", "Fréchet distance", "lower", 1),
    Column("acceptance", "proposals accepted (%)", digits=2),
)

RECIPES: dict[str, RunConfig] = {
    "post": CONDITIONAL_VAE,
    # Without the leaky_relu before the sigmoid a pixel can be black; a heavier KL term draws the
    # codes of a class towards the prior, and its samples towards what the decoder knows.
    "sharp": CONDITIONAL_VAE.replace(output_leaky_relu=False, beta=3.0),
}


def run(
    flags: SourceFlags,
    recipes: dict[str, RunConfig],
    *,
    also: Sequence[Path] = (),
    count: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare models of runs, or of every recipe, trained now; print, and write what is asked.

    The figure is of the last model.

    Raises:
        InputError: If data, run or a file to write is not there, or the count is below 1.
    """
    dataset, mesh = flags.open(128)
    _wanted_labels(None, count, dataset.num_classes)
    models = {}
    if flags.run_dir is not None:
        for run_dir in (flags.run_dir, *also):
            one = dataclasses.replace(flags, run_dir=run_dir)
            config, model = _obtain(one, CONDITIONAL_VAE, dataset, mesh)
            models[_describe(config)] = model
    else:
        for recipe in recipes.values():
            config, model = _obtain(flags, recipe, dataset, mesh)
            models[_describe(config)] = model
    judge = train_judge(dataset)
    comparison = compare_generation(models, dataset, judge, count=count, seed=seed)
    comparison.publish(flags.json)
    if flags.figure is not None:
        name, model = list(models.items())[-1]
        draw_gallery(flags.figure, model, dataset, title=f"{name}, on {dataset.name}", seed=seed)
    return comparison


def write_samples(
    path: Path,
    flags: SourceFlags,
    recipe: RunConfig,
    *,
    sampler: SamplerName,
    label: int | None,
    count: int,
    seed: int = 0,
) -> None:
    """Write samples of the model of a run, or of a recipe trained now, as `generate_file` does.

    Raises:
        InputError: If data or run are not there, or `generate_file` refuses what is asked.
    """
    dataset, mesh = flags.open(recipe.train.batch_size)
    check_request(path, label, count, dataset.num_classes)
    _, model = _obtain(flags, recipe, dataset, mesh)
    generate_file(path, model, dataset, sampler=sampler, label=label, count=count, seed=seed)


def _obtain(
    flags: SourceFlags, recipe: RunConfig, dataset: Dataset, mesh: Mesh
) -> tuple[RunConfig, ConditionalVAE]:
    batch_size = min(recipe.train.batch_size, len(dataset.train.labels))
    recipe = recipe.replace(
        num_classes=dataset.num_classes, data=dataset.name, batch_size=batch_size
    )
    config, model = obtain(flags.run_dir, recipe, dataset, mesh=mesh, show_progress=True)
    assert isinstance(model, ConditionalVAE)
    if model.config.num_classes != dataset.num_classes:
        raise InputError(
            f"expected a model conditioned on the {dataset.num_classes} classes of {dataset.name}, "
            f"got one of {model.config.num_classes}"
        )
    return config, model


def _describe(config: RunConfig) -> str:
    """What tells a model from the post's, and for how long it was trained."""
    assert isinstance(config.model, ConditionalVAEConfig)
    own = CONDITIONAL_VAE.replace(num_classes=config.model.num_classes)
    differences = [
        *(["no last leaky_relu"] if not config.model.output_leaky_relu else []),
        *([f"{config.model.num_latent} latents"] if config.model.num_latent != 50 else []),
        *([f"beta {config.train.beta:g}"] if config.train.beta != own.train.beta else []),
    ]
    name = ", ".join(differences) or "as it is"
    return f"the post's CVAE, {name}, {config.train.epochs} epochs"


def generate_file(
    path: Path,
    model: ConditionalVAE,
    dataset: Dataset,
    *,
    sampler: SamplerName,
    label: int | None,
    count: int,
    seed: int = 0,
) -> None:
    """Write samples: a .npz file of images and labels, or one picture of them side by side.

    Args:
        path: Ends in .npz, or as a lossless picture does.
        model: That decodes.
        dataset: Whose training set the aggregated posterior is of.
        sampler: Where codes come from.
        label: Of all samples; else the classes take turns.
        count: How many.
        seed: Of the samples.

    Raises:
        InputError: If there is no such class or file format, or the file cannot be written.
    """
    labels = _wanted_labels(label, count, dataset.num_classes)
    draw = draw_codes(sampler, labels, Posteriors.of(model, dataset.train), seed=seed)
    images = to_bytes(decode(model, draw.codes, labels))
    if path.suffix == ".npz":
        try:
            npz.write(path, {"images": images, "labels": labels})
        except OSError as error:
            raise InputError(f"expected a file that can be written, got {error}") from error
    else:
        write_pixels(path, collage(images)[0])


def check_request(path: Path, label: int | None, count: int, num_classes: int) -> None:
    """Refuse, before any training, what `generate_file` would refuse after it.

    Raises:
        InputError: If there is no such class or file format, or the file cannot be written.
    """
    check_destination(path)
    if path.suffix != ".npz":
        if path.suffix == ".npy":
            raise InputError(f"expected a name ending in .npz or .png, got {path}")
        picture_shape(path, (28, 28))
    _wanted_labels(label, count, num_classes)


def compare_generation(
    models: dict[str, ConditionalVAE],
    dataset: Dataset,
    judge: Judge,
    *,
    count: int = 10_000,
    seed: int = 0,
    mixture_components: int = 10,
) -> Comparison:
    """Score models and samplers, a Gaussian mixture on PCA codes, and real images.

    Args:
        models: By the names that the table gives them.
        dataset: Its training set is what samplers and the mixture know.
        judge: Trained on real images, it has seen none of a model's.
        count: Samples of each row, the classes taking turns.
        seed: Of all samples.
        mixture_components: Gaussians of each class, at most.
    """
    labels = _wanted_labels(None, count, dataset.num_classes)
    rows: list[dict[str, Any]] = []

    def score(model: str, sampler: str, images: np.ndarray, acceptance: float | None) -> None:
        accuracy, frechet = judge.judge(images, labels)
        share = None if acceptance is None else 100 * acceptance
        figures = {"accuracy": 100 * accuracy, "frechet": frechet, "acceptance": share}
        kind = "real" if model == _REAL else "generated"
        rows.append({"model": model, "sampler": sampler, "kind": kind, **figures})

    for name, model in models.items():
        posteriors = Posteriors.of(model, dataset.train)
        for sampler in SAMPLERS:
            draw = draw_codes(sampler, labels, posteriors, seed=seed)
            score(name, _CODES[sampler], decode(model, draw.codes, labels), draw.acceptance)
    images = _mixture_samples(dataset, labels, mixture_components, seed)
    score("PCA-50", "a Gaussian mixture of each class", images, None)
    score(_REAL, "-", _real_images(dataset, labels, seed), None)
    return Comparison(
        f"Class-conditional generation on {dataset.name}",
        COLUMNS,
        tuple(rows),
        settings={
            "samples a row": count,
            "seed": seed,
            "training images": len(dataset.train.labels),
            "test images": len(dataset.test.labels),
            "judge's test accuracy": f"{100 * judge.accuracy:.2f} %",
        },
        notes=(
            "The judge is a convolutional classifier trained on the real training images alone. "
            "The Fréchet distance is between Gaussians fitted to its last hidden layer, on samples "
            "and on the real test images; it is no Inception distance.",
            "The aggregated posterior draws a training image, then a code of its posterior. "
            "Rejection sampling proposes codes of the prior, and accepts them by the exact ratio "
            "of the aggregated posterior's density to the prior's, over its 0.99 quantile.",
            f"The mixture has {mixture_components} Gaussians of full covariance a class, by up to "
            "50 rounds of EM. The quantile of the rejection was chosen by the judge's figures on "
            "the post's model; nothing else was.",
        ),
        group="kind",
    )


_REAL = "real training images"
_CODES = {
    "prior": "the prior",
    "aggregated": "the aggregated posterior",
    "rejection": "the prior, by rejection",
}


def _wanted_labels(label: int | None, count: int, num_classes: int) -> np.ndarray:
    if count < 1:
        raise InputError(f"expected a count of 1 or more, got {count}")
    if label is None:
        return (np.arange(count) % num_classes).astype(np.int32)
    if not 0 <= label < num_classes:
        raise InputError(f"expected a label from 0 to {num_classes - 1}, got {label}")
    return np.full(count, label, np.int32)


def _real_images(dataset: Dataset, labels: np.ndarray, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    rows = [generator.choice(np.flatnonzero(dataset.train.labels == label)) for label in labels]
    return dataset.train.images[rows]


def _mixture_samples(
    dataset: Dataset, labels: np.ndarray, components: int, seed: int
) -> np.ndarray:
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    flat = as_unit_float(dataset.train.images).reshape(len(dataset.train.labels), -1)
    principal = PCA(50, random_state=seed).fit(flat)
    # In float32 a covariance may round to one that is not positive.
    codes = principal.transform(flat).astype(np.float64)
    samples = np.empty((len(labels), codes.shape[1]))
    for label in np.unique(labels):
        own = codes[dataset.train.labels == label]
        # A Gaussian of 50 dimensions wants some hundreds of points.
        number = max(1, min(components, len(own) // 300))
        mixture = GaussianMixture(number, reg_covar=1e-4, random_state=seed, max_iter=50)
        # Of matrices this small, threads cost more than they bring; on busy cores ten times more.
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            mixture.fit(own)
        wanted = labels == label
        samples[wanted] = mixture.sample(int(wanted.sum()))[0]
    images = np.clip(principal.inverse_transform(samples), 0, 1)
    return images.reshape(-1, 28, 28, 1).astype(np.float32)
