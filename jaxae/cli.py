"""What command lines share: one line for the user's errors, and the flags of data and trainings."""

import argparse
import contextlib
import inspect
import io
import os
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import tyro

from jaxae.bounds import Amount, Checked, Count, CountOrZero, PositiveAmount, Seed, Share, Workers, check, kinds_of
from jaxae.config import (
    ComputeDtype,
    Fit,
    Keep,
    LearningRateSchedule,
    Likelihood,
    Reading,
    Reduction,
    Replay,
    RunConfig,
    Scale,
    ScaleValue,
    Side,
    TrainConfig,
    VAEConfig,
    read_config,
)
from jaxae.ending import carry_out
from jaxae.errors import InputError

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from jaxae.data.dataset import Dataset

Given = TypeVar("Given")
# A dataclass whose fields are flags of the command line, without a prefix.
Flags = Annotated[Given, tyro.conf.arg(name="")]
# A flag that is given or not, without a --no- twin.
Switch = Annotated[bool, tyro.conf.FlagCreatePairsOff]


def default(told: str, metavar: str | None = None) -> object:
    """Say in the help what a flag whose default is None stands for, and what it takes beside None."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {told})", metavar=metavar)


def run(main: Callable[..., None]) -> None:
    """Parse the command line for a function, and call it; what ends it before its time is told in one line.

    Its docstring and arguments make the help. A command line that does not parse is an InputError; the other ends and
    their statuses are those of `jaxae.ending.carry_out`; warnings are one line each.
    """
    warnings.showwarning = _show_warning
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started this
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  it is open as long as the process
    carry_out(lambda: bind(main)())


def bind(main: Callable[..., None]) -> Callable[[], None]:
    """The function with its arguments from the command line, to be called.

    Raises:
        InputError: If the command line does not parse, or names a `config.json` that is none.
    """

    @wraps(main)
    def bound(*args: Any, **keywords: Any) -> Callable[[], None]:
        return partial(main, *args, **keywords)

    prog, said = Path(sys.argv[0]).name, io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(partial(bound, **_defaults_of_file(main)), prog=prog)
    except SystemExit as exit:
        if not exit.code:
            raise
    # tyro draws a box: a title, then sections between rules, the last ones on help.
    title, _, box = re.sub("[╭╮╰╯│]", " ", said.getvalue()).strip("─- \n").partition("\n")
    sections = [" ".join(section.split()) for section in re.split("[─-]{5,}", box)]
    told = "; ".join(one for one in sections if one and not re.match("(For full|Argument) helptext", one))
    title = title.strip("─- ").lower()
    told = re.sub(f"^{title}:? ", "", told, flags=re.IGNORECASE)
    raise InputError(f"expected what {prog} --help lists, got {title}: {told}")


def _defaults_of_file(main: Callable[..., None]) -> dict[str, Any]:
    """Defaults of a training's arguments that come from the file that --config names; those that it says."""
    usual = {name: one.default for name, one in inspect.signature(main).parameters.items()}
    if not any(isinstance(value, TrainFlags) for value in usual.values()):
        return {}
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", nargs="?")
    named = finder.parse_known_args()[0].config
    if named is None:
        return {}
    path = Path(named)
    config = read_config(path)
    found: dict[str, Any] = {}
    for name, value in usual.items():
        if isinstance(value, TrainFlags):
            found[name] = TrainFlags.of_file(path, config)
        elif isinstance(value, KLFlags):
            found[name] = KLFlags(**{one: getattr(config.train, one) for one in kinds_of(KLFlags)})
        elif isinstance(value, LikelihoodFlags):
            found[name] = LikelihoodFlags(
                **{one: getattr(config.model, one, getattr(value, one)) for one in kinds_of(LikelihoodFlags)}
            )
        else:  # of another model it may have no such setting, which the training then refuses
            found[name] = getattr(config.model, name, value)
    return found


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


@dataclass(frozen=True, kw_only=True)
class ReadingFlags(Reading):
    """Flags of how data are read.

    Attributes:
        size: Number of pixels of a side that images are resampled to.
        fit: Way to make a picture square before that: crop its middle, or pad it with black.
        grey: Whether colours become luminance.
        upright: Whether EMNIST's images, which lie on their side, are turned upright.
        test_share: Share of each class that becomes the test set, where the data have none.
        skip_broken: Whether pictures that cannot be read are left out and counted.
    """

    size: Annotated[Side | None, default("the images' own", "INT")] = None
    fit: Fit = "crop"
    grey: Switch = False
    upright: Switch = False
    test_share: Annotated[Share | None, default("1/6", "FLOAT")] = None
    skip_broken: Switch = False

    def read(self, data: str, data_dir: Path | None, *, original_order: bool = False) -> "Dataset":
        """The data set of a name or path; what was decided in reading it is told on standard error.

        Raises:
            InputError: If it is unknown, or cannot be had or read.
        """
        from jaxae.data.dataset import load_as

        dataset = load_as(self, data, data_dir, original_order=original_order)
        for note in dataset.notes:
            print(f"note: {note}", file=sys.stderr)
        return dataset

    def asked(self) -> list[str]:
        """The words that ask for this reading on a command line."""
        usual, words = ReadingFlags(), []
        for name in kinds_of(ReadingFlags):
            if (value := getattr(self, name)) != getattr(usual, name):
                words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
        return words


@dataclass(frozen=True, kw_only=True)
class DataFlags(ReadingFlags):
    """Flags of the data, and of the devices that share a batch of it.

    Attributes:
        data: Data set: mnist and digits come with the package; a path of pictures in class folders, .npz, CSV, IDX
            and other files (docs/data.md); fashion_mnist, kmnist, emnist/... with --data-dir; or a TFDS set.
        data_dir: Folder of IDX files or of prepared TFDS data.
        device: Kind of device; auto takes what JAX finds.
        devices: Number of devices that share a batch; on a CPU, parts of its cores.
    """

    data: str = "mnist"
    data_dir: Annotated[Path | None, default("the package's, or TFDS's own", "PATH")] = None
    device: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Annotated[Workers | None, default("min(cores, batch size // 32)", "INT")] = None

    def load(self, *, original_order: bool = False) -> "Dataset":
        """The data set.

        Raises:
            InputError: If it is unknown, or cannot be had or read.
        """
        return self.read(self.data, self.data_dir, original_order=original_order)

    def inputs(self) -> list[Path]:
        """What is read, so that no output may replace it: the data set's files."""
        from jaxae.data.dataset import files_of

        return files_of(self.data, self.data_dir)

    def configure(self, *, batch_size: int, dtype: ComputeDtype = "float32", models: int = 1) -> "Mesh":
        """Set up JAX for a script, and make the mesh to train on.

        Raises:
            InputError: If the device or so many of them are not there.
        """
        from jaxae.training.runtime import configure

        return configure(device=self.device, devices=self.devices, batch_size=batch_size, models=models, dtype=dtype)


@dataclass(frozen=True, kw_only=True)
class TrainFlags(DataFlags):
    """Flags of a training; a script's defaults are its preset's, the original settings.

    Attributes:
        epochs: Number of passes over the training set.
        batch_size: Number of examples per step.
        learning_rate: Adam's learning rate.
        seed: Seed of weights, order and noise.
        config: File config.json of a run, whose settings of data, network and training stand for all flags that are
            not given.
        run_dir: Folder that the run is kept in.
        resume: Whether to continue the run of --run-dir (by default the newest) from its last checkpoint.
        binarize: Whether each pixel is drawn 0 or 1 with its grey value as the probability, anew at each step.
        log_every: Number of steps between logged costs; each call of the compiled program takes as many.
        checkpoint_seconds: Least number of seconds between checkpoints; 0 saves one every epoch.
        dtype: Dtype of the network's arithmetic. In float64 a replay differs from torch by torch's own rounding alone.
        seeds: Number of models trained at once, with seeds from --seed on; mean and standard deviation of
            their costs are logged. Devices are divided among the models first.
        replay: Random stream to repeat: torch-1 and torch draw weights, order and noise as torch does after
            manual_seed, with the DataLoader of torch 1.x or of today.
        tensorboard: Whether costs and figures are written for TensorBoard too, in the run folder's tensorboard/.
        wandb: Project of Weights & Biases that follows the run; WANDB_MODE=offline keeps it here.
        reduction: Reduction of the cost: the post's (the autoencoder's mean over batch and pixels, the VAE's sum over
            both), that sum for either, or a sum over pixels and a mean over the batch.
        grad_clip_norm: Largest norm of a step's whole gradient; a larger one is scaled down to it. It is that of the
            cost by --reduction: the VAE's grows with the batch.
        weight_decay: Weight decay as AdamW has it: a step takes learning rate times this off each parameter.
        schedule: Course of the learning rate: constant, or down to 0 along a line or half a cosine.
        warmup_steps: Number of steps before that, in which the learning rate rises from 0 along a line.
        keep: Epoch whose weights are kept: the last, or the one of the least test cost.
        patience: Number of epochs without a better test cost that end the training, with the best kept; 0 is without
            end.
    """

    epochs: CountOrZero
    batch_size: Count
    learning_rate: Amount
    seed: Seed
    config: Annotated[Path | None, default("none: the original settings", "PATH")] = None
    run_dir: Annotated[Path | None, default("runs/MODEL-DATA-N, the first N that is free", "PATH")] = None
    resume: Switch = False
    binarize: bool = False
    log_every: Count = 50
    checkpoint_seconds: Amount = 10.0
    dtype: Annotated[ComputeDtype | None, default("float32; float64 in a replay")] = None
    seeds: Count = 1
    replay: Replay = "no"
    tensorboard: Switch = False
    wandb: Annotated[str | None, default("none", "PROJECT")] = None
    reduction: Reduction = "post"
    grad_clip_norm: Annotated[PositiveAmount | None, default("none", "FLOAT")] = None
    weight_decay: Amount = 0.0
    schedule: LearningRateSchedule = "constant"
    warmup_steps: CountOrZero = 0
    keep: Keep = "last"
    patience: CountOrZero = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check("the last of the seeds", self.seed + self.seeds - 1, Seed)

    @classmethod
    def of(cls, preset: RunConfig) -> "TrainFlags":
        """The flags that train a preset as it is."""
        settings = {name: getattr(preset.train, name) for name in _of_any_training()}
        if settings["dtype"] == _usual_dtype(settings["replay"]):
            settings["dtype"] = None
        return cls(**settings)

    @classmethod
    def of_file(cls, path: Path, config: RunConfig) -> "TrainFlags":
        """The flags that train anew what a file says, its data included."""
        reading = {name: getattr(config.reading, name) for name in kinds_of(Reading)}
        return replace(cls.of(config), config=path, data=config.data, data_dir=config.data_dir, **reading)

    def settings(self) -> dict[str, Any]:
        """The settings of a run that these flags are, by name."""
        own = {name: getattr(self, name) for name in _of_any_training()}
        reading = Reading(**{name: getattr(self, name) for name in kinds_of(Reading)})
        dtype = self.dtype or _usual_dtype(self.replay)
        return own | {"dtype": dtype, "data": self.data, "data_dir": self.data_dir, "reading": reading}


def _of_any_training() -> list[str]:
    """The settings of a training that are flags of every one: all but those of a VAE's KL term."""
    return [name for name in kinds_of(TrainConfig) if name in kinds_of(TrainFlags)]


def _usual_dtype(replay: Replay) -> ComputeDtype:
    return "float32" if replay == "no" else "float64"


@dataclass(frozen=True, kw_only=True)
class KLFlags(Checked):
    """Flags of a VAE's KL term.

    Attributes:
        beta: Weight of the KL divergence.
        beta_warmup_epochs: Number of epochs in which that weight rises from 0 along a line.
        free_bits: Nats of KL divergence that each latent dimension has for free, in the mean of a batch.
    """

    beta: Amount = 1.0
    beta_warmup_epochs: CountOrZero = 0
    free_bits: Amount = 0.0


KL_DEFAULTS = KLFlags()


@dataclass(frozen=True, kw_only=True)
class LikelihoodFlags(Checked):
    """Flags of what a VAE takes pixels for.

    Attributes:
        likelihood: Distribution of a pixel; discretized-logistic is one of 256 grey values, whose cost is told in bits
            per dimension too.
        scale: Origin of the Gaussian's standard deviation or the logistic's scale: fixed, learned as one number, or the
            decoder's for each pixel.
        scale_value: That scale, or the one that a learned one starts from, for pixels from 0 to 1.
    """

    likelihood: Likelihood = VAEConfig.likelihood
    scale: Scale = VAEConfig.scale
    scale_value: ScaleValue = VAEConfig.scale_value


LIKELIHOOD_DEFAULTS = LikelihoodFlags()
