"""Obtained against published: what was printed or reported of each network, and what ours obtain."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Key, UInt8

from jaxae.bounds import Count, check_fits
from jaxae.cli import DataFlags, default
from jaxae.config import (
    AUTOENCODER,
    CONDITIONAL_VAE,
    DENSE_VAE,
    AutoencoderConfig,
    ConditionalVAEConfig,
    DenseVAEConfig,
    RunConfig,
)
from jaxae.data.dataset import Dataset
from jaxae.data.pixels import as_unit_float
from jaxae.errors import InputError
from jaxae.network.apply import check_unconditional
from jaxae.network.likelihood import importance_weighted_log_likelihood
from jaxae.network.models import Model
from jaxae.network.vae import VAE
from jaxae.parity.published import PublishedComparison, check_replay, published_logs, replay_published
from jaxae.storage.files import check_writable
from jaxae.training.checks import check_training
from jaxae.training.many import fit_many, load_models
from jaxae.training.run_folder import run_files
from jaxae.usecases.features import features_of
from jaxae.usecases.method_table import MethodTable, Shown, columns_of, tell

Part = Literal["costs", "forest", "likelihood"]

_VAES = (DENSE_VAE, CONDITIONAL_VAE.replace(num_classes=0, binarize=True))
_TREES = 500
_PIXELS_SEED = 0
_ROWS = 500


@dataclass(frozen=True, kw_only=True)
class PublishedSettings(DataFlags):
    """What is obtained, on MNIST.

    Attributes:
        parts: Parts of the table: costs replays the notebooks' printed lines, forest classifies the autoencoder's
            codes, likelihood estimates log p(x) of plain VAEs.
        runs: Folders of plain VAEs' runs, of a seed or of several (--seeds), whose likelihood is estimated; without
            them, five seeds of the fully connected VAE and of the post's are trained now.
        seeds: Number of models of a row that are trained now.
        cvae_epochs: Number of the conditional VAE's 50 printed epochs that are replayed.
        samples: Number of importance samples of an image.
        images: Number of test images that the likelihood is estimated on, from the first.
        json: JSON file to write the table's figures to.
    """

    parts: tuple[Part, ...] = ("costs", "forest", "likelihood")
    runs: tuple[Path, ...] = ()
    seeds: Count = 5
    cvae_epochs: Count = 50
    samples: Count = 1000
    images: Count = 10_000
    json: Annotated[Path | None, default("none is written")] = None


@dataclass(frozen=True)
class PublishedRow:
    """A figure of one network: as published, and as obtained by each of our models.

    Attributes:
        figure: What is measured.
        network: The network, and how ours were trained.
        published: The published figure and its source.
        obtained: Our figure: mean and deviation of the seeds.
        differs: What differs between the two, beside the framework.
        values: Our figure of each seed.
    """

    figure: Annotated[str, Shown("figure")]
    network: Annotated[str, Shown("network")]
    published: Annotated[str, Shown("published")]
    obtained: Annotated[str, Shown("obtained")]
    differs: Annotated[str, Shown("what differs")]
    values: tuple[float, ...]


def run(settings: PublishedSettings) -> MethodTable[PublishedRow]:
    """Replay, train and estimate what the settings say; the table of the figures side by side.

    Raises:
        InputError: If data or runs are not there or not what a part is of, or the file cannot be written.
    """
    check_writable(settings.json, inputs=[*settings.inputs(), *run_files(*settings.runs)])
    if "likelihood" in settings.parts:
        check_fits("samples", settings.samples * min(settings.images, _ROWS) * 4)
    mesh = settings.configure(batch_size=128, models=settings.seeds)
    dataset = settings.load(original_order=True)
    for config in _trainings(settings):  # before the minutes that the costs take
        check_training(config, dataset, mesh, models=settings.seeds)
    if "costs" in settings.parts and dataset.name != "mnist":
        raise InputError(f"expected mnist, of which the printed costs are, got {dataset.name}")
    for log in published_logs() if "costs" in settings.parts else ():
        check_replay(log, dataset)
    parts = {"costs": _costs, "forest": _forest, "likelihood": _likelihoods}
    rows = tuple(row for part in settings.parts for row in parts[part](settings, dataset, mesh))
    return MethodTable(
        f"Obtained against published on {dataset.name}",
        columns_of(PublishedRow),
        rows,
        settings={name: getattr(settings, name) for name in ("seeds", "samples", "images")},
        notes=(
            "Obtained: mean ± standard deviation of the seeds. Log-likelihoods are importance-weighted bounds "
            f"(arXiv:1509.00519, equation 8) on test pixels drawn once as 0 or 1 by key {_PIXELS_SEED}, the same for "
            "every model; more samples only lower the figure.",
        ),
    )


def _trainings(settings: PublishedSettings) -> Iterator[RunConfig]:
    """What is trained now."""
    if "forest" in settings.parts:
        yield AUTOENCODER
    if "likelihood" in settings.parts and not settings.runs:
        yield from _VAES


def _costs(settings: PublishedSettings, dataset: Dataset, mesh: Mesh) -> Iterator[PublishedRow]:
    for log in published_logs():
        tell(f"replaying {log.name}")
        # In float32, as the notebooks: the table's other rows are no float64 programs.
        own = replace(log, config=log.config.replace(dtype="float32"))
        steps = None
        if not isinstance(log.config.model, AutoencoderConfig):
            steps = settings.cvae_epochs * -(-len(dataset.train.labels) // log.config.train.batch_size)
        yield _cost_row(replay_published(own, dataset, steps=steps))


def _cost_row(found: PublishedComparison) -> PublishedRow:
    last = found.lines[-1].epoch
    lines = [line for line in found.lines if line.epoch == last]
    printed, ours = fmean(line.published for line in lines), fmean(line.replayed for line in lines)
    decimals = 4 if isinstance(found.log.config.model, AutoencoderConfig) else 1
    return PublishedRow(
        f"cost, mean of the lines printed in epoch {last}",
        _name(found.log.config),
        f"{printed:.{decimals}f} (notebook {found.log.name})",
        f"{ours:.{decimals}f}; {found.identical} of {len(found.lines)} lines equal to 4 decimals; "
        f"epoch means within {max(found.epoch_gaps):.2%}",
        "nothing: torch's seed, order and noise replayed; a CPU's float32 for a GPU's",
        (ours,),
    )


def _forest(settings: PublishedSettings, dataset: Dataset, mesh: Mesh) -> Iterator[PublishedRow]:
    from sklearn.ensemble import RandomForestClassifier

    config = AUTOENCODER.replace(data=dataset.name)
    accuracies = []
    for _, model in _trained(config, settings, dataset, mesh):
        codes = features_of(model, dataset)
        forest = RandomForestClassifier(_TREES, random_state=0, n_jobs=-1).fit(codes.train, dataset.train.labels)
        accuracies.append(100 * float(forest.score(codes.test, dataset.test.labels)))
        tell(f"random forest: {accuracies[-1]:.2f} %")
    yield PublishedRow(
        f"accuracy of a random forest of {_TREES} trees on the 32 codes, %",
        _name(config),
        "95.23 (notebook ae-basic-with-rf)",
        _mean(accuracies),
        "weights, order and scikit-learn's version",
        tuple(accuracies),
    )


def _likelihoods(settings: PublishedSettings, dataset: Dataset, mesh: Mesh) -> Iterator[PublishedRow]:
    if settings.runs:
        models = [found for folder in settings.runs for found in load_models(folder)]
    else:
        models = [found for config in _VAES for found in _trained(config, settings, dataset, mesh)]
    images = dataset.test.images[: settings.images]

    def training(found: tuple[RunConfig, Model]) -> str:
        return repr(found[0].replace(seed=0))

    for _, group in groupby(sorted(models, key=training), key=training):
        found = list(group)
        config, costs = found[0][0], []
        for own, model in found:
            check_unconditional(model)
            if not isinstance(model, VAE):
                raise InputError(f"expected runs of plain VAEs, got one of {type(own.model).__name__}")
            key = jax.random.key(_PIXELS_SEED)
            costs.append(-mean_log_likelihood(model, images, key=key, num_samples=settings.samples))
            tell(f"{_name(own)}, seed {own.train.seed}: {costs[-1]:.2f} nats per image")
        published, differs = _of_literature(config)
        yield PublishedRow(
            f"-log p(x) of {len(images)} test images, {settings.samples} samples, nats per image",
            _name(config),
            published,
            _mean(costs),
            differs,
            tuple(costs),
        )


def mean_log_likelihood(
    model: VAE, images: UInt8[np.ndarray, "n 28 28 1"], *, key: Key[Array, ""], num_samples: int
) -> float:
    """Mean estimate of log p(x) of images whose pixels are drawn 0 or 1 once, in nats per image.

    Args:
        model: A plain VAE.
        images: Grey images, whose values are the probabilities.
        key: Key of pixels and codes: the same pixels for every model.
        num_samples: Number of importance samples of an image.
    """
    found = [
        importance_weighted_log_likelihood(
            model,
            jnp.asarray(as_unit_float(images[begin : begin + _ROWS])),
            key=jax.random.fold_in(key, begin),
            num_samples=num_samples,
            pixels="drawn",
        )
        for begin in range(0, len(images), _ROWS)
    ]
    return float(np.concatenate(found).mean(dtype=np.float64))


def _trained(
    config: RunConfig, settings: PublishedSettings, dataset: Dataset, mesh: Mesh
) -> Iterable[tuple[RunConfig, Model]]:
    """So many seeds of a preset, trained now in one program."""
    tell(f"training {settings.seeds} of {_name(config)}")
    config = config.replace(data=dataset.name)
    seeds = range(config.train.seed, config.train.seed + settings.seeds)
    result = fit_many(config, dataset, seeds=seeds, mesh=mesh, log=tell)
    return [(config.replace(seed=seed), result.model(index)) for index, seed in enumerate(seeds)]


def _name(config: RunConfig) -> str:
    model = config.model
    if isinstance(model, AutoencoderConfig):
        kind = "the post's autoencoder"
    elif isinstance(model, DenseVAEConfig):
        kind = f"VAE {'-'.join(map(str, (784, *model.hidden, model.num_latent)))}, {model.activation}"
    else:
        assert isinstance(model, ConditionalVAEConfig)
        kind = "the post's conditional VAE" if model.num_classes else "the post's VAE without its condition"
        kind += "" if model.output_leaky_relu else ", no last leaky_relu"
    pixels = ", binarized pixels" if config.train.binarize else ""
    passes = "epoch" if config.train.epochs == 1 else "epochs"
    return f"{kind}, {config.train.epochs} {passes}{pixels}"


def _of_literature(config: RunConfig) -> tuple[str, str]:
    """What the literature has for a network like this, and what differs."""
    training = f"{config.train.epochs} passes at one learning rate (paper: 3,280 at eight falling ones, batches of 20)"
    if config.model == DENSE_VAE.model:
        return (
            "86.76 (Burda et al. 2016, table 1, VAE, k = 1; 5,000 samples)",
            f"{training}; initial weights (torch's, paper: Glorot's); the draw of the test pixels",
        )
    pixels = "" if config.train.binarize else "; trained on grey pixels"
    return "none of this network; 86.76 of the fully connected one", f"the network; {training}{pixels}"


def _mean(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f} (1 seed)"
    return f"{fmean(values):.2f} ± {stdev(values):.2f} ({len(values)} seeds)"
