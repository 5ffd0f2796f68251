"""The flags of trainings."""

import contextlib
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from jaxae.bounds import (
    Amount,
    Checked,
    Count,
    CountOrZero,
    PositiveAmount,
    Seed,
    Share,
    Workers,
    check,
    kinds_of,
    require,
)
from jaxae.cli.data_flags import DataFlags
from jaxae.cli.flag import Switch, default
from jaxae.config import (
    ComputeDtype,
    Keep,
    LearningRateSchedule,
    Likelihood,
    Reading,
    Reduction,
    Replay,
    RunConfig,
    Scale,
    ScaleValue,
    TrainConfig,
    VAEConfig,
)

if TYPE_CHECKING:
    from jaxae.data.dataset import Dataset
    from jaxae.data.stream.streamed import StreamedDataset


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
        dtype: Dtype of the arithmetic; bfloat16 is that of the layers, forward and backward, over weights, moments and
            costs in float32. In float64 a replay differs from torch by torch's own rounding alone.
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
        ema_decay: Decay per step of a moving average of the weights (such as 0.999), which is then evaluated, drawn and
            kept in their place.
        coordinator: Address at which process 0 listens for the others, of a training in several processes or machines
            (docs/scaling.md); each is started with the same flags but for --process-id.
        num_processes: Number of processes that train together.
        process_id: Number of this process among them, from 0; process 0 writes.
        stream: Whether the training images are read from disk as they are needed (docs/streaming.md), of a folder that
            jaxae convert wrote: auto is yes where a training in memory would take more than half of the memory.
        distributed: Whether the environment that SLURM, Open MPI or Kubernetes sets tells all three (auto).
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
    ema_decay: Annotated[Share | None, default("none", "FLOAT")] = None
    coordinator: Annotated[str | None, default("none", "HOST:PORT")] = None
    num_processes: Annotated[Workers | None, default("1", "INT")] = None
    process_id: Annotated[CountOrZero | None, default("0", "INT")] = None
    stream: Literal["auto", "yes", "no"] = "auto"
    distributed: Literal["no", "auto"] = "no"

    def __post_init__(self) -> None:
        super().__post_init__()
        check("the last of the seeds", self.seed + self.seeds - 1, Seed)
        self._check_processes()

    def _check_processes(self) -> None:
        three = (self.coordinator, self.num_processes, self.process_id)
        given = sum(one is not None for one in three)
        require(given in (0, 3), "--coordinator, --num-processes and --process-id together", f"{given} of them")
        require(not given or self.distributed == "no", "--coordinator or --distributed auto", "both")
        together = bool(given) or self.distributed != "no"
        require(not together or self.seeds == 1, "one seed in several processes", self.seeds)
        if self.coordinator is not None and self.num_processes is not None and self.process_id is not None:
            port = self.coordinator.rpartition(":")[2]
            require(
                bool(re.fullmatch(r".+:\d{1,5}", self.coordinator)) and 0 < int(port) < 2**16,
                "a coordinator HOST:PORT",
                self.coordinator,
            )
            require(self.process_id < self.num_processes, "a process id below the number of processes", self.process_id)

    def load_or_stream(self, *, original_order: bool = False, quietly: bool = False) -> "Dataset | StreamedDataset":
        """The data set, in memory or streamed.

        Raises:
            InputError: If it cannot be had or read, or is streamed and asked to be read otherwise than it is.
        """
        from jaxae.data.dataset import check_data_dir
        from jaxae.data.stream.streamed import is_to_stream, stream

        if not is_to_stream(self.data, self.stream):
            return self.load(original_order=original_order, quietly=quietly)
        dataset = stream(self.data)
        check_data_dir(self.data, self.data_dir)
        asked = " ".join(self.asked())
        require(not asked, "records that are streamed to be read as they are (jaxae convert takes such flags)", asked)
        for note in () if quietly else dataset.notes:
            print(f"note: {note}", file=sys.stderr)
        return dataset

    def joined(self) -> contextlib.AbstractContextManager[None]:
        """In whose block this process trains together with others, where any are asked for.

        Raises:
            InputError: If they do not find each other, or one of them ends before its time.
        """
        if self.coordinator is None and self.distributed == "no":
            return contextlib.nullcontext()
        from jaxae.training.joining import joined

        return joined(self.coordinator, self.num_processes, self.process_id)

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
