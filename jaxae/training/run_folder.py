"""The run folder: what a training keeps on disk, where, and what a resumed one must find there.

config.json          model, training and data settings
metrics.jsonl        a line for each logged step and each epoch's test set
checkpoints/         the newest three, by step
weights.safetensors  the trained weights in Flax's layout, once the training has ended
codec.npz            tables of a compression, once the run has been used for one
*.png                figures
"""

import fcntl
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxae.bounds import check, usable_cores
from jaxae.config import AS_FOUND, ModelConfig, RunConfig, read_config
from jaxae.data.dataset import Dataset
from jaxae.data.stream.streamed import StreamedDataset, digest_of
from jaxae.ending import keep
from jaxae.errors import InputError, brief
from jaxae.network.fork import check_not_forked
from jaxae.network.models import Model, parameter_shapes, with_parameters
from jaxae.network.parameters import Parameters, named_leaves
from jaxae.storage import safetensors
from jaxae.storage.files import partial_files, refuse_unwritable, write_bytes, write_text
from jaxae.training.processes import process_count
from jaxae.training.program import Program

RUNS = Path("runs")
# All but the figures, which may be drawn anew.
_FILES = ("config.json", "metrics.jsonl", "checkpoints", "weights*.safetensors", "codec.npz")

MetricsLine = dict[str, float | int]


@dataclass(frozen=True)
class RunFolder:
    """A folder that holds one run.

    Attributes:
        path: Path of the folder.
    """

    path: Path

    @classmethod
    @contextmanager
    def open(cls, path: Path, config: RunConfig, *, resume: bool = False) -> Iterator["RunFolder"]:
        """A folder ready for a training, and held for it alone: a new one, or to resume one of the same settings.

        Raises:
            InputError: If the folder holds a run that is not to be resumed, a run of other settings, or other files,
                if another process trains in it, or if it cannot be written.
        """
        check("a run directory", path, Path)
        folder = cls(path)
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise InputError(f"expected a run directory whose name is UTF-8, got {str(path)!r}") from None
        if path.exists() and not path.is_dir():
            raise InputError(f"expected a new or empty run directory, got {path}")
        new = not path.exists()
        with refuse_unwritable(path, "a run directory"):
            path.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDONLY)
        try:
            # A lock on the folder itself dies with the process, however that dies, and leaves no file behind.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise InputError(f"expected a run directory that no other process trains in, got {path}") from None
        try:
            resumed = folder.config_file.exists()
            if resumed:
                folder._check_resumable(config, resume)
            elif {*path.iterdir()} > {*partial_files(folder.config_file)}:
                raise InputError(f"expected a new or empty run directory, got {path}")
            folder._drop_partial()
            try:
                # Those of a run that is resumed are written once its checkpoint is found sound.
                if not resumed:
                    folder.write_config(config)
            except InputError:
                if new:
                    path.rmdir()
                raise
            keep(f"{path}, which --resume continues")
            yield folder
        finally:
            os.close(handle)

    @property
    def config_file(self) -> Path:
        """The run's settings."""
        return self.path / "config.json"

    @property
    def metrics_file(self) -> Path:
        """The run's metrics, a line of JSON each."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The folder of the run's checkpoints."""
        return self.path / "checkpoints"

    @property
    def weights_file(self) -> Path:
        """The trained weights, there once the training has ended."""
        return self.path / "weights.safetensors"

    def write_config(self, config: RunConfig) -> None:
        """Write the run's settings, whole or absent."""
        write_text(self.config_file, json.dumps(config.to_json(), indent=2) + "\n")

    def write_metrics(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Write the run's metrics anew, whole or absent."""
        write_text(self.metrics_file, "".join(json.dumps(line) + "\n" for line in lines))

    def append_metrics(self, line: MetricsLine) -> None:
        """Append a line to the run's metrics.

        Raises:
            InputError: If it cannot be written.
        """
        with telling_how_to_go_on(), refuse_unwritable(self.metrics_file), self.metrics_file.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def truncate_metrics(self, count: int) -> list[MetricsLine]:
        """The first lines of the run's metrics; those after them are dropped from the file.

        Raises:
            InputError: If the file does not begin with so many lines of metrics; it is then left as it is.
        """
        kept = self.metrics_file.read_bytes() if self.metrics_file.is_file() else b""
        lines = kept.splitlines(keepends=True)[:count]
        metrics = list(takewhile(bool, map(_parse_metrics, lines)))
        if len(metrics) < count:
            raise InputError(
                f"expected the {count} lines of metrics that the checkpoint counts, got {len(metrics)} in "
                f"{self.metrics_file} before the first that is missing or damaged"
            )
        with telling_how_to_go_on():
            write_bytes(self.metrics_file, b"".join(lines))
        return metrics

    def _drop_partial(self) -> None:
        """Delete what processes that were killed had begun to write: no other trains here now."""
        files = (self.config_file, self.metrics_file, self.weights_file, self.path / "*.png")
        sums = (step / "sha256.json" for step in self.checkpoints.glob("*"))
        with refuse_unwritable(self.path, "a run directory"):
            for path in (*files, *sums):
                for partial in partial_files(path):
                    partial.unlink()

    def _check_resumable(self, config: RunConfig, resume: bool) -> None:
        earlier = read_config(self.config_file)
        if type(earlier.model) is not type(config.model):
            raise InputError(
                f"expected a run directory of {type(config.model).__name__}, got {self.path}, "
                f"which holds {type(earlier.model).__name__}"
            )
        if not resume:
            raise InputError(f"expected a new run directory, got {self.path}, which holds a run: --resume continues it")
        if config.train.epochs < earlier.train.epochs:
            raise InputError(
                f"expected {earlier.train.epochs} epochs or more to resume {self.path}, got {config.train.epochs}: "
                "more continue the training, fewer cannot undo it"
            )
        # More epochs continue the same training where nothing in it depends on how many there will be.
        before = earlier if earlier.train.has_an_end else earlier.replace(epochs=config.train.epochs)
        # The data are held against what each checkpoint has of them, wherever they are now and however read.
        then, now = (flat(one.replace(data_dir=None, reading=AS_FOUND).to_json()) for one in (before, config))
        differing = [
            f"{name} is {now.get(name)!r}, was {then.get(name)!r}"
            for name in sorted(then | now)
            if then.get(name) != now.get(name)
        ]
        if differing:
            raise InputError(f"expected the settings of {self.path} to resume it, got others: {'; '.join(differing)}")


def default_path(name: str, *, resume: bool = False) -> Path:
    """The first of runs/NAME-1, runs/NAME-2, ... that is free; to resume, the last that is not."""
    name = name.replace("/", "-")
    number = 1
    while (RUNS / f"{name}-{number}").exists():
        number += 1
    return RUNS / f"{name}-{max(number - 1, 1) if resume else number}"


@contextmanager
def telling_how_to_go_on() -> Iterator[None]:
    """Say of a training's file that is refused in the block how to go on with the training.

    Raises:
        InputError: If one is.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{error}; with room on the disk, --resume goes on from the last checkpoint") from error


def run_files(*folders: Path) -> list[Path]:
    """The files that runs are made of, or the runs in folders of them: what no output may replace."""
    patterns = [pattern for name in _FILES for pattern in (name, f"*/{name}")]
    return [file for folder in folders for pattern in patterns for file in folder.glob(pattern)]


class Circumstances:
    """What a run depends on beside its settings: its data, and what decides a result's last bits.

    Each checkpoint carries them, and a resumed run is held against them.
    """

    def __init__(self, dataset: Dataset | StreamedDataset, program: Program):
        self._data_digest = digest_of(dataset)
        self._environment = {
            "device": program.mesh.devices.flat[0].device_kind,
            "devices": program.mesh.size,
            "processes": process_count(),
            "cores": usable_cores(),
            "jax": jax.__version__,
        }

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, for a checkpoint."""
        return {"data_digest": self._data_digest, "environment": self._environment}

    def alike(self) -> dict[str, Any]:
        """What processes that train together must have in common."""
        return {"the digest of the data": self._data_digest, "devices": self._environment["devices"]}

    def check(self, meta: dict[str, Any], folder: Path) -> None:
        """Hold a checkpoint's circumstances against these; other devices or versions are warned of.

        Raises:
            InputError: If the run was trained on other data.
        """
        if meta["data_digest"] != self._data_digest:
            raise InputError(f"expected the data that {folder} was trained on, got other data")
        before = {"processes": 1, **meta["environment"]}
        for what, here in self._environment.items():
            if before[what] != here:
                warnings.warn(
                    f"resuming with {what} {here}, not {before[what]}: results may differ in the last bits",
                    stacklevel=4,
                )


def save_weights(path: Path, config: RunConfig, parameters: Parameters) -> None:
    """Write parameters as safetensors in Flax's layout, under dotted names, whole or absent.

    Raises:
        InputError: If the file cannot be written.
    """
    arrays = {name: np.ascontiguousarray(leaf) for name, leaf in named_leaves(parameters).items()}
    metadata = safetensors.weight_metadata(
        "flax", config=json.dumps(config.to_json()), weights=config.train.trained_weights
    )
    safetensors.write(path, arrays, metadata)


def load_weights(path: Path, model: ModelConfig) -> Parameters:
    """The parameters that `save_weights` wrote, checked against a model's names and shapes.

    Raises:
        InputError: If the file is missing or damaged, or holds another model.
    """
    if not path.exists():
        raise InputError(f"expected the weights of a finished run, got no {path}")
    arrays = safetensors.read(path).arrays
    shapes = parameter_shapes(model)
    expected = {name: leaf.shape for name, leaf in named_leaves(shapes).items()}
    came = {name: array.shape for name, array in arrays.items()}
    if expected != came:
        differing = sorted(set(expected.items()) ^ set(came.items()))
        raise InputError(
            f"expected the weights of {brief(model, 120)} in {path}, got others: {brief(differing[0][0])} "
            f"(and {len(differing) - 1} more)"
        )
    return jax.tree.unflatten(jax.tree.structure(shapes), [arrays[name] for name in expected])


def load_model(path: Path, config: RunConfig) -> Model:
    """The model of these settings with the parameters that `save_weights` wrote.

    Raises:
        InputError: If the file is missing or damaged, or holds another model, or this process was forked from one in
            which JAX had started.
    """
    check_not_forked()
    return with_parameters(config.model, jax.tree.map(jax.numpy.asarray, load_weights(path, config.model)))


def load_run(run_dir: str | Path) -> tuple[RunConfig, Model]:
    """The configuration and the trained model of a run folder.

    Raises:
        InputError: If it holds no finished run.
    """
    folder = RunFolder(Path(run_dir))
    config = read_config(folder.config_file)
    return config, load_model(folder.weights_file, config)


def _parse_metrics(line: bytes) -> MetricsLine:
    """A line of metrics; empty if it is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):  # neither JSON nor, perhaps, text
        return {}
    whole = line.endswith(b"\n") and isinstance(found, dict) and {"epoch", "step", "time"} <= found.keys()
    # NaN and infinity are not below it either: a training that meets them ends.
    return found if whole and all(map(_is_metric, found.values())) else {}


def _is_metric(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def flat(document: dict[str, Any]) -> dict[str, Any]:
    """The settings of all parts of a configuration's document, by their own names."""
    return {
        name if not isinstance(value, dict) else inner: leaf
        for name, value in document.items()
        for inner, leaf in (value.items() if isinstance(value, dict) else [(name, value)])
    }
