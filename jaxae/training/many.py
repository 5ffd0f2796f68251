"""Train many models at once: seeds, learning rates or betas as one program."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from jaxae.config import RunConfig, read_config
from jaxae.data.dataset import Dataset
from jaxae.data.stream.streamed import StreamedDataset
from jaxae.errors import DivergenceError, InputError
from jaxae.network.models import Model, with_parameters
from jaxae.network.parameters import Parameters
from jaxae.network.pixel_cost import bits_per_dimension
from jaxae.storage.files import whole_or_absent_folder
from jaxae.training.best import out_of_patience
from jaxae.training.checks import check_training
from jaxae.training.course import course_of
from jaxae.training.placement import put_examples
from jaxae.training.plan import evaluation_plan, stack_plans
from jaxae.training.program import program_of
from jaxae.training.run_folder import RunFolder, load_model, load_run, save_weights
from jaxae.training.runtime import divide_by_models, make_mesh
from jaxae.training.schedule import make_schedule
from jaxae.training.state import Metrics, hyperparameters_of
from jaxae.training.trainer import Trainer


class ManyResult(NamedTuple):
    """Trained models of one shape, along a leading axis.

    Attributes:
        config: Configuration that the models have in common.
        parameters: Parameters of the models, each leaf with a leading axis of models.
        train: Cost and terms at each step, [models, steps].
        test: Cost and terms on the test set after each epoch, in nats per image, [models, epochs].
        best: Epoch of the best test cost up to each epoch, [models, epochs], where the best parameters are kept.
    """

    config: RunConfig
    parameters: Parameters
    train: Metrics
    test: Metrics
    best: Int[np.ndarray, "models epochs"] | None = None

    def model(self, index: int) -> Model:
        """One of the models."""
        own = jax.tree.map(lambda leaf: leaf[index], self.parameters)
        return with_parameters(self.config.model, own)


def fit_many(
    config: RunConfig,
    dataset: Dataset | StreamedDataset,
    *,
    seeds: Sequence[int],
    learning_rates: Sequence[float] | None = None,
    betas: Sequence[float] | None = None,
    mesh: Mesh | None = None,
    log: Callable[[str], None] | None = None,
) -> ManyResult:
    """Train a model for each seed, each as `fit` would with that seed, all in one program.

    Devices are divided among the models before they share a batch: with as many models as devices, or a multiple,
    none waits for another. What a device has of the models, a GPU trains side by side and a CPU in turn.

    Args:
        config: Model, training and the name of the data.
        dataset: Data set to train on, as `jaxae.load` returns it.
        seeds: Seeds of weights, order and noise; equal ones to compare other settings alone.
        learning_rates: Adam's learning rate for each seed; by default the configuration's.
        betas: Weight of the KL term for each seed; by default the configuration's.
        mesh: Devices to divide; by default as many as `make_mesh` gives.
        log: Function that takes a line per epoch, such as `print`.

    Raises:
        InputError: If the data are streamed or do not suit the model, or the sequences differ in length.
        DivergenceError: If a cost or gradient of any model is not finite.
    """
    if isinstance(dataset, StreamedDataset):
        raise InputError("expected data in memory to train many models at once, got streamed ones")
    if not len(seeds):
        raise InputError("expected one seed or more, got none")
    train = config.train
    mesh = mesh or make_mesh(batch_size=train.batch_size, models=len(seeds))
    check_training(config, dataset, mesh, models=len(seeds))
    learning_rates = [train.learning_rate] * len(seeds) if learning_rates is None else learning_rates
    betas = [train.beta] * len(seeds) if betas is None else betas
    if not len(seeds) == len(learning_rates) == len(betas):
        raise InputError(
            "expected as many learning rates and betas as seeds, got "
            f"{len(learning_rates)}, {len(betas)} and {len(seeds)}"
        )
    config = config.replace(class_names=dataset.class_names)
    configs = [
        config.replace(seed=seed, learning_rate=rate, beta=beta)
        for seed, rate, beta in zip(seeds, learning_rates, betas, strict=True)
    ]
    program = program_of(config, divide_by_models(mesh, len(seeds)))
    schedules = [make_schedule(one, len(dataset.train.labels)) for one in configs]
    trainer = Trainer.start(
        program,
        [schedule.init_parameters() for schedule in schedules],
        dataset.train,
        jax.tree.map(lambda *values: jnp.array(values), *map(hyperparameters_of, configs)),
        course_of(config, len(dataset.train.labels)),
        keep_best=train.keeps_best,
        ema_decay=train.ema_decay,
    )
    test_set = put_examples(program, *dataset.test)
    test_plan = trainer.place(evaluation_plan(len(dataset.test.labels)))
    # Without any epoch, these stand alone.
    costs, tests = ([Metrics(*[np.empty((len(seeds), 0), np.float32)] * len(Metrics._fields))] for _ in range(2))
    best = [np.empty((len(seeds), 0), np.int32)]
    for epoch in range(train.epochs):
        if out_of_patience(trainer.state.best, epoch, train.patience):
            break
        plan = stack_plans([schedule.plan(epoch) for schedule in schedules])
        costs.append(jax.device_get(trainer.take(trainer.place(plan))))
        _check_finite(costs[-1], seeds, int(plan.first_step))
        found = trainer.evaluate(test_set, test_plan)
        trainer.keep_better(found, epoch + 1, train.patience)
        if trainer.state.best is not None:
            best.append(np.array(trainer.state.best.epoch)[:, None])
        test = jax.device_get(found)
        tests.append(Metrics(*(values[:, None] for values in test)))
        if log:
            log(
                f"Epoch: {epoch + 1:03d}/{train.epochs:03d} | Test cost: "
                f"{test.cost.mean():.4f} ± {_deviation(test.cost):.4f} nats per image "
                f"(mean and deviation of {len(seeds)} seeds)"
            )
    kept = trainer.state.best
    if log and kept is not None and len(best) > 1:
        costs_kept = np.asarray(kept.cost)
        log(
            f"Best epochs: {', '.join(map(str, best[-1][:, 0]))} | Test cost: "
            f"{costs_kept.mean():.4f} ± {_deviation(costs_kept):.4f} nats per image"
        )
    return ManyResult(
        config,
        trainer.state.trained,
        *(Metrics(*(np.concatenate(parts, 1) for parts in zip(*each, strict=True))) for each in (costs, tests)),
        best=np.concatenate(best, 1) if train.keeps_best else None,
    )


def save_many(folder: Path, result: ManyResult, seeds: Sequence[int]) -> None:
    """Write a new folder, whole or absent: `config.json`, `metrics.jsonl` of each epoch, and each seed's weights.

    A line of metrics holds mean, deviation and each seed's value of the test set's cost and terms.

    Raises:
        InputError: If there is something of that name, or the folder cannot be written.
    """
    with whole_or_absent_folder(folder) as beside:
        _write_many(beside, result, seeds)


def _write_many(folder: Path, result: ManyResult, seeds: Sequence[int]) -> None:
    kept = RunFolder(folder)
    kept.write_config(result.config)
    lines = []
    tests = result.test._asdict()
    if (bits := bits_per_dimension(result.config.model, *result.test[1:])) is not None:
        tests["bits_per_dimension"] = np.asarray(bits)
    for epoch in range(result.test.cost.shape[1]):
        line: dict[str, Any] = {"epoch": epoch + 1, "seeds": list(seeds)}
        for name, values in tests.items():
            line[f"test_{name}_mean"] = float(values[:, epoch].mean())
            line[f"test_{name}_deviation"] = _deviation(values[:, epoch])
            line[f"test_{name}"] = values[:, epoch].tolist()
        if result.best is not None:
            line["best_epoch"] = result.best[:, epoch].tolist()
        lines.append(line)
    kept.write_metrics(lines)
    for index, seed in enumerate(seeds):
        own = jax.tree.map(lambda leaf: np.asarray(leaf[index]), result.parameters)  # noqa: B023
        save_weights(_weights_of(folder, seed), result.config.replace(seed=seed), own)


def load_models(folder: Path) -> list[tuple[RunConfig, Model]]:
    """Configuration and model of each seed of a run, of the one where it has one.

    Raises:
        InputError: If the folder holds no finished run.
    """
    config = read_config(RunFolder(folder).config_file)
    seeds = sorted(int(path.stem.rpartition("-")[2]) for path in folder.glob("weights-seed-*.safetensors"))
    if not seeds:
        return [load_run(folder)]
    return [(config.replace(seed=seed), load_model(_weights_of(folder, seed), config)) for seed in seeds]


def _weights_of(folder: Path, seed: int) -> Path:
    return folder / f"weights-seed-{seed}.safetensors"


def _check_finite(metrics: Metrics, seeds: Sequence[int], first_step: int) -> None:
    finite = np.isfinite(metrics.cost)
    if not finite.all():
        model, step = np.argwhere(~finite)[0]
        raise DivergenceError(
            f"the cost or gradient of step {first_step + step} of seed {seeds[model]} "
            "is not finite; expected a smaller learning rate"
        )


def _deviation(values: Float[np.ndarray, " models"]) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0
