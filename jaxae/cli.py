"""What the scripts share: one line for the user's errors, and the flags of the two trainings."""

import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from jax.sharding import Mesh

from jaxae.config import ComputeDtype, Replay, RunConfig
from jaxae.data.dataset import Dataset, load
from jaxae.errors import DivergenceError, InputError, StoppedError


def run(main: Callable[..., None]) -> None:
    """Parse the command line for a function, call it, and exit.

    Its docstring and arguments make the help. InputError ends with one line and status 2,
    divergence with one line and status 1, a signal with 128 and its number; warnings are one line
    each.
    """
    warnings.showwarning = _show_warning
    try:
        tyro.cli(main, prog=Path(sys.argv[0]).name)
    except InputError as error:
        _leave(f"error: {error}", 2)
    except DivergenceError as error:
        _leave(f"error: {error}", 1)
    except StoppedError as error:
        _leave(str(error), 128 + error.signal_number)
    except KeyboardInterrupt:
        _leave("interrupted", 128 + signal.SIGINT)
    except BrokenPipeError:
        # The reader of standard output has gone; nobody is left to tell.
        sys.stderr.close()
        sys.exit(128 + signal.SIGPIPE)


def _leave(line: str, status: int) -> None:
    print(" ".join(line.split()), file=sys.stderr)
    sys.exit(status)


def _show_warning(message: Warning | str, category: Any, *_: Any, **__: Any) -> None:
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


@dataclass(frozen=True)
class TrainFlags:
    """Flags of a training; a script's defaults are its preset's, the original settings.

    Attributes:
        epochs: Passes over the training set.
        batch_size: Examples a step.
        learning_rate: Of Adam.
        seed: Of weights, order and noise.
        data: digits (needs no download), mnist, fashion_mnist, kmnist, emnist/..., another TFDS set
            of that shape, or the path of an .npz file.
        data_dir: Folder of IDX files or of prepared TFDS data.
        run_dir: Where the run is kept. [default: runs/MODEL-DATA-N, the first N that is free]
        resume: Continue the run of --run-dir (by default the newest) from its last checkpoint.
        log_every: Steps between logged costs, and in one compiled chunk.
        checkpoint_seconds: Least seconds between checkpoints; 0 is one every epoch.
        dtype: In which the network computes. [default: float32; float64 in a replay, where only
            torch's own rounding then stands between the two]
        device: cpu or gpu; auto takes what JAX finds.
        devices: How many devices share a batch; on a CPU the process makes as many.
            [default: min(cores, batch size // 32)]
        seeds: Train as many models at once, with seeds from --seed on; mean and deviation are kept.
            Devices are divided among them first.
        replay: Draw weights, order and noise as torch does after manual_seed, with the DataLoader
            of torch 1.x or of today.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    data: str = "digits"
    data_dir: Path | None = None
    run_dir: Path | None = None
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    log_every: int = 50
    checkpoint_seconds: float = 10.0
    dtype: ComputeDtype | None = None
    device: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int | None = None
    seeds: int = 1
    replay: Replay = "no"

    @classmethod
    def of(cls, preset: RunConfig) -> "TrainFlags":
        """The flags that train a preset as it is."""
        train = preset.train
        return cls(train.epochs, train.batch_size, train.learning_rate, train.seed, preset.data)


def train(name: str, preset: RunConfig, flags: TrainFlags, **settings: Any) -> None:
    """Train one of the post's models as the flags say, and keep the run."""
    from jaxae.plots import draw_run
    from jaxae.training.fit import fit
    from jaxae.training.runtime import configure

    own = ("epochs", "batch_size", "learning_rate", "seed", "replay", "data")
    config = preset.replace(**{key: getattr(flags, key) for key in own})
    config = config.replace(dtype=flags.dtype or ("float32" if flags.replay == "no" else "float64"))
    dataset = load(flags.data, flags.data_dir, original_order=config.train.replay != "no")
    if "num_classes" in settings and settings["num_classes"] is None:
        settings["num_classes"] = dataset.num_classes
    config = config.replace(**settings)
    mesh = configure(
        device=flags.device,
        devices=flags.devices,
        batch_size=config.train.batch_size,
        models=max(1, flags.seeds),
        dtype=config.train.dtype,
    )
    folder = flags.run_dir or _default_folder(f"{name}-{dataset.name}", flags.resume)
    if flags.seeds != 1:
        _train_many(config, dataset, folder, mesh, flags)
        return
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
    )
    draw_run(folder, result.model, result.metrics, dataset)
    print(f"kept in {folder}", file=sys.stderr)


def _train_many(
    config: RunConfig, dataset: Dataset, folder: Path, mesh: Mesh, flags: TrainFlags
) -> None:
    from jaxae.training.many import fit_many, save_many

    if flags.resume:
        raise InputError("expected one seed with --resume: many at once keep no checkpoints")
    if folder.exists():
        raise InputError(f"expected a new run directory, got {folder}")
    seeds = range(config.train.seed, config.train.seed + flags.seeds)
    result = fit_many(config, dataset, seeds=seeds, mesh=mesh, log=partial(print, flush=True))
    save_many(folder, result, seeds)
    print(f"kept in {folder}", file=sys.stderr)


def _default_folder(name: str, resume: bool) -> Path:
    name = name.replace("/", "-")
    number = 1
    while Path("runs", f"{name}-{number}").exists():
        number += 1
    return Path("runs", f"{name}-{max(number - 1, 1) if resume else number}")
