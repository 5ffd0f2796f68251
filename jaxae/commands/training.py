"""What the commands that train have in common: figures as it trains, a summary, and what to try next."""

import math
import shlex
import sys
import time
import warnings
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from jaxae.cli import TrainFlags
from jaxae.config import AutoencoderConfig, ConvVAEConfig, RunConfig, VAEConfig, read_config
from jaxae.errors import InputError
from jaxae.storage.extra import extra

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from jaxae.data.dataset import Dataset
    from jaxae.data.stream.streamed import StreamedDataset
    from jaxae.network.models import Model
    from jaxae.training.run_folder import MetricsLine
    from jaxae.training.trackers import Following, Tracker


def train(name: str, preset: RunConfig, flags: TrainFlags, **settings: object) -> None:
    """Train one of the post's models as the flags say, and keep the run.

    Figures are drawn after the first epoch and renewed while they take a fiftieth of the time; a summary on standard
    error ends the training. Of processes that train together the first does all this, the others train alone.

    Args:
        name: Name of the model in the run folder's default path.
        preset: The original settings.
        flags: Flags of the training.
        settings: Settings of the model by name; `num_classes` of None becomes the data's.

    Raises:
        InputError: If a setting is out of range, or the data or the run folder do not suit.
        DivergenceError: If a cost or gradient is not finite.
        StoppedError: If SIGINT, SIGTERM or SIGHUP came.
    """
    with flags.joined():
        _train(name, preset, flags, **settings)


def _train(name: str, preset: RunConfig, flags: TrainFlags, **settings: object) -> None:
    from jaxae.training.fit import fit
    from jaxae.training.processes import process_index
    from jaxae.training.run_folder import default_path

    first = not process_index()
    config = _beginning(preset, flags.config).replace(**flags.settings())
    config = config.replace(**{key: value for key, value in settings.items() if value is not None})
    if first:
        _check_trackers(flags)
    dataset = flags.load_or_stream(original_order=config.train.replay != "no", quietly=not first)
    if "num_classes" in settings and settings["num_classes"] is None:
        config = config.replace(num_classes=dataset.num_classes)
    config = _of_the_images(config, dataset)
    mesh = flags.configure(batch_size=config.train.batch_size, models=flags.seeds, dtype=config.train.dtype)
    folder = flags.run_dir or default_path(f"{name}-{dataset.name}", resume=flags.resume)
    if flags.seeds != 1:
        _train_many(config, dataset, folder, mesh, flags)
        return
    figures = _Figures(folder, dataset, flags, config)
    try:
        result = fit(
            config,
            dataset,
            run_dir=folder,
            resume=flags.resume,
            mesh=mesh,
            log_every=flags.log_every,
            checkpoint_seconds=flags.checkpoint_seconds,
            log=partial(print, flush=True),
            show_progress=True,
            after_epoch=figures.renew,
        )
        if not first:
            return
        figures.draw(result.model, result.metrics)
    finally:
        figures.close()
    print(_summary(config, result.metrics, figures, flags), file=sys.stderr)


def _beginning(preset: RunConfig, path: Path | None) -> RunConfig:
    """What flags change: the original settings, or those of a file, which also holds what is no flag."""
    if path is None:
        return preset
    config = read_config(path)
    wanted, came = type(preset.model).__name__, type(config.model).__name__
    if came != wanted:
        raise InputError(f"expected a configuration of {wanted}, got {path} of {came}")
    return config


def _of_the_images(config: RunConfig, dataset: "Dataset | StreamedDataset") -> RunConfig:
    """The settings with the sizes of the data's images, where a network takes images of any."""
    shape = dataset.image_shape
    if isinstance(config.model, AutoencoderConfig):
        return config.replace(num_features=math.prod(shape))
    if isinstance(config.model, ConvVAEConfig):
        return config.replace(**dict(zip(("height", "width", "channels"), shape, strict=True)))
    return config


def _check_trackers(flags: TrainFlags) -> None:
    """Refuse before a training what would follow it and cannot."""
    if flags.seeds != 1 and (flags.tensorboard or flags.wandb is not None):
        raise InputError(f"expected one seed with --tensorboard and --wandb, got {flags.seeds}")
    if flags.tensorboard:
        extra("tensorboardX", "tensorboardX", "tensorboard")
    if flags.wandb is not None:
        extra("wandb", "wandb", "wandb")


@dataclass
class _Figures:
    """The figures of a run while it trains, and those who follow it."""

    folder: Path
    dataset: "Dataset | StreamedDataset"
    flags: TrainFlags
    config: RunConfig
    begun: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0
    last: float = 0.0
    names: list[str] = field(default_factory=list)

    @cached_property
    def following(self) -> "Following":
        """Those who follow the run; at work from the first call on, when it has its folder."""
        from jaxae.training.trackers import Following, TensorBoardTracker, WandbTracker

        trackers: list[Tracker] = []
        if self.flags.tensorboard:
            trackers.append(TensorBoardTracker(self.folder / "tensorboard", self.config))
        if self.flags.wandb is not None:
            trackers.append(WandbTracker(self.flags.wandb, self.folder, self.config))
        return Following(trackers)

    def close(self) -> None:
        """End those who follow, if there were any: a training that was refused has left nothing."""
        if "following" in vars(self):
            self.following.close()

    def renew(self, model: "Model", metrics: "list[MetricsLine]") -> None:
        """Draw samples and reconstructions: the first ones, then while all figures stay within a hundredth of the time.

        The other hundredth is for those at the end.
        """
        self.following(model, metrics)
        if not self.seconds or self.seconds + self.last <= 0.01 * (time.perf_counter() - self.begun):
            self.draw(model, metrics, whole=False)

    def draw(self, model: "Model", metrics: "list[MetricsLine]", *, whole: bool = True) -> None:
        """Draw the figures of the model as it is."""
        from jaxae.training.plots import draw_run

        begun = time.perf_counter()
        first = not self.names
        try:
            self.names = draw_run(self.folder, model, metrics, self.dataset, whole=whole)
        except InputError as error:  # no reason to end a training
            warnings.warn(f"no figures in {self.folder}: {error}", stacklevel=2)
        self.following.show([self.folder / name for name in self.names])
        if first and self.names:
            print(f"figures in {self.folder}: {', '.join(self.names)}", file=sys.stderr)
        self.last = time.perf_counter() - begun
        self.seconds += self.last


def _summary(config: RunConfig, metrics: "list[MetricsLine]", figures: _Figures, flags: TrainFlags) -> str:
    """What was trained, how well, where it is, and what to try next."""
    from jaxae.training.progress import duration

    folder, seconds = figures.folder, time.perf_counter() - figures.begun
    lines = [f"trained in {duration(seconds)}, {figures.seconds:.1f} s of it for figures"]
    if config.train.dtype == "bfloat16":
        lines.append(f"arithmetic: {config.train.arithmetic}")
    tests = {line["epoch"]: line for line in metrics if "test_cost" in line}
    if tests:
        last = tests[max(tests)]
        last = tests[last.get("best_epoch") or last["epoch"]]
        terms = f"reconstruction {last['test_reconstruction']:.2f}"
        if isinstance(config.model, VAEConfig):
            terms += f", KL divergence {last['test_kl']:.2f}"
        if "test_bits_per_dimension" in last:
            terms += f"; {last['test_bits_per_dimension']:.3f} bits per dimension"
        of = f" after epoch {last['epoch']}, the best" if "best_epoch" in last else ""
        of += "" if config.train.ema_decay is None else ", with the average of the weights"
        lines.append(f"test set: {last['test_cost']:.2f} nats per image ({terms}){of}")
    lines.append(f"kept in {folder}: weights.safetensors, config.json, metrics.jsonl, checkpoints/")
    lines += [f"figures: {', '.join(figures.names)}", "try next:"]
    classes = figures.dataset.num_classes
    if isinstance(config.model, AutoencoderConfig):
        jobs = ["reduce", "features"]
    elif not config.model.num_classes:
        # Files are compressed in tiles of 28 by 28 grey pixels.
        jobs = ["features", *(["compress rate"] if figures.dataset.image_shape == (28, 28, 1) else [])]
    elif config.model.num_classes == classes:
        label = min(7, classes - 1)
        jobs = [f"generate --label {label} --count 16 --out samples.png", "generate --figure gallery.png"]
    else:  # of other classes than the data's, which generate refuses
        jobs = []
    given = ["--run-dir", str(folder), "--data", flags.data]
    given += [*(["--data-dir", str(flags.data_dir)] if flags.data_dir else []), *flags.asked()]
    lines += [f"  jaxae {job} {shlex.join(given)}" for job in jobs]
    ported = shlex.join([str(folder), f"{folder.name}.pt", "--verify"])
    return "\n".join([*lines, f"  jaxae port {ported}"])


def _train_many(
    config: RunConfig, dataset: "Dataset | StreamedDataset", folder: Path, mesh: "Mesh", flags: TrainFlags
) -> None:
    from jaxae.storage.files import check_new_folder
    from jaxae.training.many import fit_many, save_many

    if flags.resume:
        raise InputError(f"expected one seed with --resume, as many keep no checkpoints, got {flags.seeds}")
    check_new_folder(folder)
    seeds = range(config.train.seed, config.train.seed + flags.seeds)
    result = fit_many(config, dataset, seeds=seeds, mesh=mesh, log=partial(print, flush=True))
    save_many(folder, result, seeds)
    print(f"kept in {folder}", file=sys.stderr)
