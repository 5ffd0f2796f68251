"""What a training refuses before it begins: data that do not suit, steps beyond counting, arrays beyond memory."""

import math
from collections.abc import Sequence

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int, Num

from jaxae.bounds import Count, check, check_fits, require
from jaxae.config import AutoencoderConfig, ModelConfig, RunConfig, TrainConfig, VAEConfig
from jaxae.data.dataset import Dataset
from jaxae.data.pixels import as_array, check_images, check_labels
from jaxae.data.stream.streamed import StreamedDataset, count_of
from jaxae.errors import InputError
from jaxae.network.models import parameter_shapes
from jaxae.network.parameters import named_leaves
from jaxae.training.program import Program, program_of
from jaxae.training.runtime import MODEL_AXIS

Pair = tuple[Num[np.ndarray, "..."], Int[np.ndarray, "..."]]


def check_training(
    config: RunConfig, dataset: Dataset | StreamedDataset, mesh: Mesh | None = None, *, models: int = 1
) -> None:
    """Refuse a training that cannot come to its end.

    Args:
        config: Configuration of the training.
        dataset: Data set to train on.
        mesh: Devices that it would run on; without them memory is not asked for.
        models: Number of models that train at once.

    Raises:
        InputError: If the data do not suit the model or the batch size, there would be more steps than int32 counts or
            none after the warm-up, or parameters, moments and a batch do not fit into memory.
    """
    held = [dataset.test] if isinstance(dataset, StreamedDataset) else [dataset.train, dataset.test]
    for split in held:
        check_split(config.model, split, dataset.num_classes)
    count, size = count_of(dataset), config.train.batch_size
    if size > count:
        raise InputError(f"expected a batch size of at most the {count} training examples, got {size}")
    total = config.train.epochs * -(-count // size)
    check(f"the number of steps of {config.train.epochs} epochs", max(1, total), Count)
    if total and config.train.warmup_steps >= total:
        raise InputError(
            f"expected fewer warm-up steps than the {total} steps of the training, got {config.train.warmup_steps}"
        )
    if total and config.train.beta_warmup_epochs > config.train.epochs:
        raise InputError(
            f"expected a warm-up of beta within the {config.train.epochs} epochs of the training, got one of "
            f"{config.train.beta_warmup_epochs}"
        )
    if isinstance(config.model, VAEConfig):
        classes = config.model.num_classes
        if classes and dataset.num_classes > classes:
            raise InputError(
                f"expected labels of the model's {classes} classes, got a data set of {dataset.num_classes}"
            )
    if mesh is not None:
        kept = config.train.keeps_best + (config.train.ema_decay is not None)
        check_memory(program_of(config, mesh), batch_size=size, models=models, images=held, kept=kept)


def check_chunk(config: RunConfig, dataset: StreamedDataset, log_every: int) -> None:
    """Refuse chunks of a streamed training that do not fit into memory: one is trained on, one is read.

    Raises:
        InputError: If they do not.
    """
    nbytes = 2 * log_every * config.train.batch_size * math.prod(dataset.image_shape)
    check_fits(f"two chunks of {log_every} batches", nbytes)


def check_own_optimizer(config: RunConfig) -> None:
    """Refuse settings of Adam beside an optimizer of one's own, and a replay.

    Raises:
        InputError: If there are any.
    """
    train = config.train
    require(train.replay == "no", "no optimizer in a replay, which has plain Adam", "one")
    for name in ("grad_clip_norm", "weight_decay", "schedule", "warmup_steps"):
        value = getattr(train, name)
        told = f"no {name} beside an optimizer, which has its own"
        require(value == getattr(TrainConfig, name), told, value)


def check_split(model: ModelConfig, split: Pair, num_classes: int) -> None:
    """Refuse images and labels that are none of a model's.

    Raises:
        InputError: If they are of another shape or dtype, or out of range.
    """
    images, labels = split
    came = as_array("images", images).shape[1:]
    shape = model.image_shape if isinstance(model, VAEConfig) else came
    try:
        check_images(images, shape)
    except InputError as error:
        raise InputError(f"{error}{_how_to_fit(came, 28)}") from error
    check_labels(labels, num_classes, num_images=len(images))
    if isinstance(model, AutoencoderConfig) and math.prod(shape) != model.num_features:
        how = _how_to_fit(shape, math.isqrt(model.num_features))
        raise InputError(f"expected examples of {model.num_features} features, got {list(shape)}{how}")


def _how_to_fit(shape: tuple[int, ...], side: int) -> str:
    """How images of this shape are made grey ones of a side, for a message; nothing of what is no images, or is so."""
    if len(shape) != 3 or shape[2] not in (1, 3) or shape == (side, side, 1):
        return ""
    flags = [f"size={side}"] * (shape[:2] != (side, side)) + ["grey=True"] * (shape[2] != 1)
    typed = " ".join(f"--{flag.replace('=True', '').replace('=', ' ')}" for flag in flags)
    return f"; {typed} (load(..., {', '.join(flags)})) makes them fit"


def check_memory(
    program: Program, *, batch_size: int, models: int = 1, images: Sequence[Pair] = (), kept: int = 0
) -> None:
    """Refuse models whose training certainly does not fit into memory.

    What cannot be done without: of each model on each device that trains it, parameters and Adam's two moments, as
    many parameters more as are kept, and of the batch a value of each layer's outputs; the data. What a compiled
    program needs beside these is left out.

    Raises:
        InputError: If that is more than the host, or a device of another kind, has.
    """
    mesh = program.mesh
    leaves = named_leaves(parameter_shapes(program.model))
    size = sum(math.prod(leaf.shape) for leaf in leaves.values())
    outputs = sum(math.prod(leaf.shape) for name, leaf in leaves.items() if name.endswith("bias"))
    groups = dict(mesh.shape).get(MODEL_AXIS, math.gcd(mesh.size, models))
    data = sum(np.asarray(array).nbytes for split in images for array in split)
    # A group of devices has its own models, a batch is shared; on a CPU all devices have one memory.
    state = (3 + kept) * size * -(-models // groups)
    shared = -(-batch_size * outputs * groups // mesh.size)
    nbytes = program.float_dtype.itemsize * (state + shared)
    # Of processes that train together, each has its own memory, and here looks after its own devices.
    device = mesh.local_devices[0]
    on_host = device.platform == "cpu"
    there = None if on_host else (device.memory_stats() or {}).get("bytes_limit")
    if on_host or there:
        check_fits(
            f"{models} models" if models > 1 else "a model",
            nbytes * (len(mesh.local_devices) if on_host else 1) + data,
            there,
        )
