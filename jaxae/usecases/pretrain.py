"""Pretraining: an encoder that saw images without labels, fine-tuned on few labels."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Num

from jaxae.bounds import SOME, Count, CountOrZero, PositiveAmount, Widths, check_fits
from jaxae.cli import default
from jaxae.config import AutoencoderConfig
from jaxae.data.dataset import Dataset
from jaxae.errors import InputError
from jaxae.network.apply import map_rows
from jaxae.network.layers import ACTIVATIONS, Linear
from jaxae.network.models import Autoencoder, build
from jaxae.network.parameters import Parameters, parameters_of
from jaxae.storage.figures import save_figure
from jaxae.training.checks import check_training
from jaxae.training.plots import new_figure
from jaxae.usecases.corruption import MaskedPixels
from jaxae.usecases.method_table import MethodTable, Shown, columns_of
from jaxae.usecases.model_source import UseCaseSettings, load_or_train
from jaxae.usecases.recipe import deep_autoencoder
from jaxae.usecases.supervised import Network, network_of, passes, train


@dataclass(frozen=True, kw_only=True)
class PretrainSettings(UseCaseSettings):
    """How both starts are trained on labels; a run is one of a plain autoencoder.

    Attributes:
        labels: Numbers of labelled images.
        seeds: Number of trainings of each start: a seed draws the labelled images, the order and the weights.
        learning_rates: Learning rates tried for each start and number of labels; one is chosen on validation images.
        batch_size: Largest number of labelled images per step.
        steps: Number of steps on 100 labels; it grows with the square root of their number, to ten times at 10,000.
        validation: Number of training images, at most a fifth of them, held out to choose the learning rate.
        epochs: Number of passes of the pretraining, where no run is named.
    """

    labels: Annotated[Widths | None, default("100 1000 10000, as far as there are as many", "[INT [INT ...]]")] = None
    seeds: Count = 5
    learning_rates: Annotated[tuple[PositiveAmount, ...], SOME] = (0.001, 0.003, 0.01)
    batch_size: Count = 50
    steps: Count = 100
    validation: Count = 5000
    epochs: Annotated[CountOrZero | None, default("as many as make 4,700 steps", "INT")] = None

    def label_counts(self, dataset: Dataset) -> list[int]:
        """The numbers of labels to compare: those asked for, or those of the defaults there are.

        Raises:
            InputError: If one is below the number of classes, or above the images that are left.
        """
        available = len(dataset.train.labels) - self.validation_size(dataset)
        usual = (count for count in (100, 1000, 10_000) if count <= available)
        counts = list(usual if self.labels is None else self.labels)
        for count in counts:
            if not dataset.num_classes <= count <= available:
                raise InputError(f"expected from {dataset.num_classes} to {available} labels, got {count}")
        if not counts:
            raise InputError("expected at least one number of labels, got none")
        return counts

    def num_steps(self, count: int) -> int:
        """Number of steps on so many labels."""
        return max(1, round(self.steps * (count / 100) ** 0.5))

    def validation_size(self, dataset: Dataset) -> int:
        """Number of training images that the learning rate is chosen on."""
        return max(1, min(self.validation, len(dataset.train.labels) // 5))


@dataclass(frozen=True)
class PretrainingRow:
    """Accuracies, in percent, of one start on so many labels, at its chosen learning rate."""

    labels: Annotated[int, Shown("labels")]
    start: Annotated[str, Shown("encoder")]
    mean: Annotated[float, Shown("test accuracy (%)", "higher", 2)]
    deviation: Annotated[float, Shown("sd over seeds", digits=2)]
    learning_rate: Annotated[float, Shown("learning rate chosen", digits=5)]
    accuracies: tuple[float, ...]


@dataclass(frozen=True)
class PretrainingComparison:
    """Both starts side by side."""

    table: MethodTable[PretrainingRow]

    def draw(self, path: Path) -> None:
        """Draw test accuracy against the number of labels, the deviation as a bar."""
        figure, axes = new_figure(1, 1, (6, 4))
        axis = axes[0, 0]
        for start, style, fill in (("pretrained", "ko-", "black"), ("from scratch", "ks--", "white")):
            points = [(row.labels, row.mean, row.deviation) for row in self.table.rows if row.start == start]
            axis.errorbar(*zip(*points, strict=True), fmt=style, mfc=fill, capsize=4, label=start)
        axis.set(xscale="log", xlabel="labelled training images", title=self.table.title)
        axis.set_ylabel("test accuracy (%), mean and sd over seeds")
        axis.grid(alpha=0.3)
        axis.legend()
        save_figure(figure, path)


class Outcome(NamedTuple):
    """Accuracies in [0, 1] of each seed and learning rate."""

    validation: Float[np.ndarray, "seeds rates"]
    test: Float[np.ndarray, "seeds rates"]


class EncoderClassifier(nnx.Module):
    """An autoencoder's encoder, and a linear layer from the code to the classes."""

    def __init__(self, config: AutoencoderConfig, num_classes: int, *, rngs: nnx.Rngs):
        self.config = config
        encoder = build(config, rngs=rngs)
        for number in range(1, len(config.hidden) + 1):
            setattr(self, f"linear_{number}", getattr(encoder, f"linear_{number}"))
        self.head = Linear(config.hidden[-1], num_classes, rngs=rngs)

    def __call__(self, x: Float[Array, "batch ..."]) -> Float[Array, "batch classes"]:
        """Logits of images in [0, 1]."""
        x = x.reshape(len(x), -1)
        for number in range(1, len(self.config.hidden) + 1):
            x = ACTIVATIONS[self.config.activation](getattr(self, f"linear_{number}")(x))
        return self.head(x)


def run(settings: PretrainSettings) -> PretrainingComparison:
    """Pretrain, or take a run's encoder, and compare it with the same network from scratch.

    Raises:
        InputError: If data, run or a file to write is not there, or more labels are asked for than there are.
    """
    dataset, mesh = settings.open(256)
    most = max(settings.label_counts(dataset))
    check_fits("steps", settings.seeds * settings.num_steps(most) * min(settings.batch_size, most) * 4)
    recipe = deep_autoencoder(dataset)
    if settings.epochs is not None:
        recipe = recipe.replace(epochs=settings.epochs)
    if settings.model_dir is None:
        # Fine-tuned are the encoders, each half of an autoencoder.
        check_training(recipe, dataset, mesh, models=-(-settings.seeds * len(settings.learning_rates) // 2))
    corrupt = MaskedPixels(0.5)
    _, model = load_or_train(settings.model_dir, recipe, dataset, mesh=mesh, corrupt=corrupt, show_progress=True)
    assert isinstance(model, Autoencoder)
    return compare_pretraining(model, dataset, settings)


def compare_pretraining(model: Autoencoder, dataset: Dataset, settings: PretrainSettings) -> PretrainingComparison:
    """Fine-tune a pretrained encoder on so many labels, and train the same network from scratch.

    Labels are taken from the training set, accuracies on the test set. All seeds and learning rates of a row are one
    compiled program.

    Raises:
        InputError: If more labels are asked for than there are.
    """
    label_counts = settings.label_counts(dataset)
    rows = []
    for count in label_counts:
        for start, encoder in (("from scratch", None), ("pretrained", model)):
            outcome = fine_tune(model.config, encoder, dataset, count, settings)
            best = int(outcome.validation.mean(0).argmax())
            accuracies = 100 * outcome.test[:, best]
            mean, deviation = float(accuracies.mean()), float(accuracies.std(ddof=1)) if settings.seeds > 1 else 0.0
            rate = settings.learning_rates[best]
            rows.append(PretrainingRow(count, start, mean, deviation, rate, tuple(map(float, accuracies))))
    widths = (model.config.num_features, *model.config.hidden, dataset.num_classes)
    table = MethodTable(
        f"Pretraining without labels on {dataset.name}",
        columns_of(PretrainingRow),
        tuple(rows),
        settings={
            "network": "-".join(map(str, widths)),
            "seeds": settings.seeds,
            "test images": len(dataset.test.labels),
            "batch": settings.batch_size,
            "steps": ", ".join(str(settings.num_steps(count)) for count in label_counts),
        },
        notes=(
            f"Pretrained on all {len(dataset.train.labels)} training images without labels, one encoder for all "
            "seeds; a seed draws the labelled images (as many of each class, to one), their order, and the weights "
            "that are not pretrained.",
            "Adam with a cosine schedule, all layers trained. The learning rate was chosen for each row out of "
            f"{', '.join(f'{rate:g}' for rate in settings.learning_rates)} on {settings.validation_size(dataset)} "
            "further training images; nothing else was tuned.",
        ),
        group="labels",
    )
    return PretrainingComparison(table)


def fine_tune(
    config: AutoencoderConfig, encoder: Autoencoder | None, dataset: Dataset, count: int, settings: PretrainSettings
) -> Outcome:
    """Train on so many labels, for every seed and learning rate, in one vmapped program.

    Args:
        config: Settings of the network.
        encoder: Autoencoder whose encoder the network starts from; None draws it.
        dataset: Data set that labels come from.
        count: Number of labelled images per seed.
        settings: Settings of the training.
    """
    held = settings.validation_size(dataset)
    starts, orders = [], []
    for seed in range(settings.seeds):
        # The same images and order for both starts and all rates.
        generator = np.random.default_rng([seed, count])
        chosen = _balanced(dataset.train.labels[:-held], count, generator)
        batch = min(settings.batch_size, count)
        orders.append(chosen[passes(generator, count, batch, settings.num_steps(count))])
        starts.append(_start(config, encoder, dataset.num_classes, seed))
    shape = (settings.seeds, len(settings.learning_rates))
    stacked = jax.tree.map(lambda *leaves: jnp.repeat(jnp.stack(leaves), shape[1], axis=0), *starts)
    repeated, rates = np.repeat(orders, shape[1], axis=0), np.tile(settings.learning_rates, shape[0])
    network = network_of(EncoderClassifier, config, dataset.num_classes)
    trained = _train_all(network, stacked, *map(jnp.asarray, (*dataset.train, repeated, rates)))
    held_out = (array[-held:] for array in dataset.train)
    validation, test = (_accuracies(network, trained, *split).reshape(shape) for split in (held_out, dataset.test))
    return Outcome(validation, test)


def _start(config: AutoencoderConfig, encoder: Autoencoder | None, num_classes: int, seed: int) -> Parameters:
    parameters = _fresh(config, num_classes, jax.random.key(seed))
    if encoder is not None:
        pretrained = parameters_of(encoder)
        parameters |= {name: pretrained[name] for name in parameters if name != "head"}
    return parameters


@partial(jax.jit, static_argnums=(0, 1))
def _fresh(config: AutoencoderConfig, num_classes: int, key: Array) -> Parameters:
    return parameters_of(EncoderClassifier(config, num_classes, rngs=nnx.Rngs(key)))


@partial(jax.jit, static_argnums=0)
def _train_all(
    network: Network, starts: Parameters, images: Array, labels: Array, orders: Array, rates: Array
) -> Parameters:
    each = jax.vmap(partial(train, network), in_axes=(0, None, None, 0, 0))
    return each(starts, images, labels, orders, rates)


@partial(jax.jit, static_argnums=0)
def _hits(network: Network, trained: Parameters, images: Array, labels: Array) -> Array:
    logits = jax.vmap(network, in_axes=(0, None), out_axes=1)(trained, images)
    return logits.argmax(-1) == labels[:, None]


def _accuracies(
    network: Network, trained: Parameters, images: Num[np.ndarray, "n ..."], labels: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " models"]:
    return map_rows(partial(_hits, network, trained), images, labels).mean(0)


def _balanced(labels: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Indices of so many examples, the classes in equal numbers, to one, while they last."""
    order = generator.permutation(len(labels))
    # Rank of each example within its class, in the drawn order: take all firsts, then seconds...
    ranks = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels[order] == label)
        ranks[own] = np.arange(len(own))
    return order[np.argsort(ranks, kind="stable")[:count]].astype(np.int32)
