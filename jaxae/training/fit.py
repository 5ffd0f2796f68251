"""Train a model: epochs, log lines, progress, metrics, checkpoints, around the compiled step."""

import hashlib
import json
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxae.config import ConditionalVAEConfig, RunConfig, read_config
from jaxae.data.dataset import Dataset
from jaxae.errors import DivergenceError, InputError, StoppedError
from jaxae.network.models import Model, with_parameters
from jaxae.storage.files import write_text
from jaxae.training.checkpoint import WEIGHTS_FILE, Checkpoints, save_weights
from jaxae.training.progress import Progress
from jaxae.training.runtime import make_mesh, usable_cores
from jaxae.training.schedule import Plan, batches, make_schedule, part_of
from jaxae.training.step import (
    Corruption,
    Metrics,
    Program,
    TrainState,
    evaluate,
    hyperparameters_of,
    init_state,
    program_of,
    put_examples,
    put_plan,
    put_state,
    train_steps,
)

_EVALUATION_BATCH = 512
_EVALUATION_SEED = 0


class FitResult(NamedTuple):
    """A trained model, the state it came from, and what `metrics.jsonl` records."""

    model: Model
    state: TrainState
    metrics: list[dict[str, Any]]


def fit(
    config: RunConfig,
    dataset: Dataset,
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    mesh: Mesh | None = None,
    log_every: int = 50,
    checkpoint_seconds: float = 10.0,
    log: Callable[[str], None] | None = None,
    show_progress: bool = False,
    corrupt: Corruption | None = None,
) -> FitResult:
    """Train a model as configured, evaluating on the test set after each epoch.

    Args:
        config: Model, training and the name of the data; a preset, perhaps with `replace`.
        dataset: What `jaxae.load` returns.
        run_dir: Folder for configuration, metrics, checkpoints and weights; else none is written.
        resume: Continue from the run directory's newest checkpoint, to the very bits.
        mesh: The devices that share a batch; by default as many as `make_mesh` gives.
        log_every: Steps between two logged costs, and in one compiled chunk.
        checkpoint_seconds: Least seconds between checkpoints; 0 saves one after every epoch.
        log: Takes the post's lines, such as `print`.
        show_progress: Show a progress bar on standard error where that is a terminal.
        corrupt: Makes of a key and an image what the network is shown instead (denoising).

    Returns:
        The trained model, its last state, and the metrics.

    Raises:
        InputError: If the data does not suit the model or the run directory.
        DivergenceError: If a cost or gradient is not finite.
        StoppedError: If SIGINT or SIGTERM came; the run directory then holds a checkpoint.
    """
    mesh = mesh or make_mesh(batch_size=config.train.batch_size)
    check_data(config, dataset)
    if log_every < 1:
        raise InputError(f"expected log_every of 1 or more, got {log_every}")
    if not checkpoint_seconds >= 0:
        raise InputError(f"expected checkpoint_seconds of 0 or more, got {checkpoint_seconds}")
    if corrupt is not None and config.train.replay != "no":
        raise InputError("expected no corruption in a replay: torch's stream has none")
    run = _Run(config, dataset, mesh, log or (lambda line: None), log_every, corrupt)
    if run_dir is None:
        run.train(show_progress=show_progress)
        return run.result()
    folder = _open_folder(Path(run_dir), config, resume)
    try:
        with _stop_signals() as stop:
            with Checkpoints(folder / "checkpoints") as checkpoints:
                run.keep_in(folder, checkpoints, checkpoint_seconds)
                if resume:
                    run.resume()
                run.train(show_progress=show_progress, stop=stop)
            # A signal that comes now is too late to stop anything: the weights are written.
            run.finish()
    except OSError as error:
        raise InputError(f"expected a run directory that can be written, got {error}") from error
    return run.result()


class _Run:
    """One training underway: its compiled program, its state, and what it has recorded."""

    def __init__(
        self,
        config: RunConfig,
        dataset: Dataset,
        mesh: Mesh,
        log: Callable[[str], None],
        log_every: int,
        corrupt: Corruption | None,
    ):
        self.config = config
        self.log = log
        self.log_every = log_every
        self.program = program_of(config, mesh, corrupt)
        self.schedule = make_schedule(config, len(dataset.train.labels))
        self.state = init_state(self.program, self.schedule.init_parameters(config.model))
        self.train_set = put_examples(self.program, *dataset.train)
        self.test_set = put_examples(self.program, *dataset.test)
        self.test_plan = evaluation_plan(self.program, len(dataset.test.labels))
        self.dataset = dataset
        self.steps_per_epoch = -(-len(dataset.train.labels) // config.train.batch_size)
        self.metrics: list[dict[str, Any]] = []
        self.folder: Path | None = None

    def keep_in(self, folder: Path, checkpoints: Checkpoints, seconds: float) -> None:
        """Record metrics and checkpoints in a run directory from here on."""
        self.folder = folder
        self.data_digest = _digest(self.dataset)
        self.checkpoints = checkpoints
        self.checkpoint_seconds = seconds
        self.saved_at = time.monotonic()

    def resume(self) -> None:
        """Go back to the newest checkpoint, and drop the metrics recorded after it."""
        assert self.folder is not None
        restored = self.checkpoints.restore(self.state)
        if restored is None:
            warnings.warn(
                f"no checkpoint in {self.folder} yet: starting from the beginning", stacklevel=3
            )
            return
        meta = restored.meta
        if meta["data_digest"] != self.data_digest:
            raise InputError(f"expected the data that {self.folder} was trained on, got other data")
        for what, here in _environment(self.program).items():
            if meta["environment"][what] != here:
                warnings.warn(
                    f"resuming with {what} {here}, not {meta['environment'][what]}: "
                    "results may differ in the last bits",
                    stacklevel=3,
                )
        self.state = put_state(self.program, restored.state)
        path = self.folder / "metrics.jsonl"
        lines = path.read_text().splitlines(keepends=True)[: meta["metrics_lines"]]
        write_text(path, "".join(lines))
        self.metrics = [json.loads(line) for line in lines]

    def train(self, *, show_progress: bool, stop: Callable[[], int | None] = lambda: None) -> None:
        """Take the steps that are left."""
        train = self.config.train
        start = time.perf_counter()
        if self.folder is not None and not self.metrics:
            write_text(self.folder / "metrics.jsonl", "")
        first = int(self.state.step)
        total = train.epochs * self.steps_per_epoch
        with Progress(total, first, train.batch_size, shown=show_progress) as progress:
            for epoch in range(first // self.steps_per_epoch, train.epochs):
                self._train_epoch(epoch, progress, stop)
                self._evaluate(epoch)
                self._save(force=epoch + 1 == train.epochs)
                self.log(f"Time elapsed: {(time.perf_counter() - start) / 60:.2f} min")
                self._stop_if_asked(stop)
        self.log(f"Total Training Time: {(time.perf_counter() - start) / 60:.2f} min")

    def finish(self) -> None:
        """Write the weights."""
        assert self.folder is not None
        save_weights(self.folder / WEIGHTS_FILE, self.config, self.state.parameters)

    def result(self) -> FitResult:
        """The trained model with what was recorded."""
        model = with_parameters(self.config.model, self.state.parameters)
        return FitResult(model, self.state, self.metrics)

    def _train_epoch(self, epoch: int, progress: Progress, stop: Callable[[], int | None]) -> None:
        plan = self.schedule.plan(epoch)
        begin = int(self.state.step) - plan.first_step
        pending: tuple[int, int, Metrics] | None = None
        for chunk in range(begin, self.steps_per_epoch, self.log_every):
            end = min(chunk + self.log_every, self.steps_per_epoch)
            part = put_plan(self.program, part_of(plan, chunk, self.log_every))
            self.state, metrics = train_steps(
                self.state,
                self.train_set,
                part,
                end - chunk,
                hyperparameters_of(self.config),
                program=self.program,
            )
            # A chunk late: reading the costs of this one would leave the devices idle meanwhile.
            if pending:
                self._record(epoch, *pending, progress)
            pending = (chunk, end, metrics)
            if stop():
                break
        if pending:
            self._record(epoch, *pending, progress)
        if int(self.state.step) < plan.first_step + self.steps_per_epoch:
            self._stop_if_asked(stop)

    def _record(
        self, epoch: int, begin: int, end: int, metrics: Metrics, progress: Progress
    ) -> None:
        costs = np.asarray(metrics.cost)[: end - begin]
        step = epoch * self.steps_per_epoch + begin
        if not np.isfinite(costs).all():
            bad = int(np.argmin(np.isfinite(costs)))
            raise DivergenceError(
                f"the cost or gradient of step {step + bad} (epoch {epoch + 1}, batch "
                f"{begin + bad}) is not finite; expected a smaller learning rate than "
                f"{self.config.train.learning_rate}"
            )
        self._write(
            {
                "epoch": epoch + 1,
                "step": step,
                "batch": begin,
                **{name: float(values[0]) for name, values in metrics._asdict().items()},
            }
        )
        self.log(
            f"Epoch: {epoch + 1:03d}/{self.config.train.epochs:03d} | "
            f"Batch {begin:03d}/{self.steps_per_epoch:03d} | Cost: {costs[0]:.4f}"
        )
        progress.advance(end - begin, float(costs[-1]))

    def _evaluate(self, epoch: int) -> None:
        beta = self.config.train.beta
        test = evaluate(
            self.state.parameters, self.test_set, self.test_plan, beta, program=self.program
        )
        values = {f"test_{name}": float(value) for name, value in test._asdict().items()}
        self._write({"epoch": epoch + 1, "step": (epoch + 1) * self.steps_per_epoch, **values})

    def _write(self, line: dict[str, Any]) -> None:
        line["time"] = time.time()
        self.metrics.append(line)
        if self.folder is not None:
            with (self.folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")

    def _save(self, *, force: bool) -> None:
        if self.folder is None:
            return
        if not force and time.monotonic() - self.saved_at < self.checkpoint_seconds:
            return
        meta = {
            "config": self.config.to_json(),
            "data_digest": self.data_digest,
            "metrics_lines": len(self.metrics),
            "environment": _environment(self.program),
        }
        self.checkpoints.save(self.state, meta)
        self.saved_at = time.monotonic()

    def _stop_if_asked(self, stop: Callable[[], int | None]) -> None:
        number = stop()
        if number is None:
            return
        self._save(force=True)
        raise StoppedError(
            f"stopped by {signal.Signals(number).name} after step {int(self.state.step)}, "
            f"which is saved in {self.folder}; --resume continues from there",
            number,
        )


def evaluation_plan(program: Program, num_examples: int) -> Plan:
    """All examples in order, with the one key that evaluations draw from."""
    order = batches(np.arange(num_examples), min(num_examples, _EVALUATION_BATCH))
    return put_plan(program, Plan(order, jax.random.key(_EVALUATION_SEED), 0))


def check_data(config: RunConfig, dataset: Dataset) -> None:
    """Refuse data that does not suit the model or the batch size.

    Raises:
        InputError: Naming what was expected and what came.
    """
    images, labels = dataset.train
    if config.train.batch_size > len(labels):
        raise InputError(
            f"expected a batch size of at most the {len(labels)} training examples, "
            f"got {config.train.batch_size}"
        )
    if isinstance(config.model, ConditionalVAEConfig):
        classes = config.model.num_classes
        if images.shape[1:] != (28, 28, 1):
            raise InputError(f"expected images [n, 28, 28, 1], got {list(images.shape)}")
        if classes and dataset.num_classes > classes:
            raise InputError(
                f"expected labels of the model's {classes} classes, "
                f"got a data set of {dataset.num_classes}"
            )
    elif int(np.prod(images.shape[1:])) != config.model.num_features:
        raise InputError(
            f"expected examples of {config.model.num_features} features, "
            f"got {list(images.shape[1:])}"
        )


def _open_folder(folder: Path, config: RunConfig, resume: bool) -> Path:
    existing = folder / "config.json"
    if existing.exists():
        earlier = read_config(existing)
        if type(earlier.model) is not type(config.model):
            raise InputError(
                f"expected a run directory of {type(config.model).__name__}, got {folder}, "
                f"which holds {type(earlier.model).__name__}"
            )
        if not resume:
            raise InputError(
                f"expected a new run directory, got {folder}, which holds a run: "
                "--resume continues it"
            )
        _check_same(earlier, config, folder)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"expected a new or empty run directory, got {folder}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(existing, json.dumps(config.to_json(), indent=2) + "\n")
    except OSError as error:
        raise InputError(f"expected a run directory that can be written, got {error}") from error
    return folder


def _check_same(earlier: RunConfig, config: RunConfig, folder: Path) -> None:
    # More epochs continue the same training: nothing in it depends on how many there will be.
    before = earlier.replace(epochs=max(earlier.train.epochs, config.train.epochs))
    then, now = _flat(before.to_json()), _flat(config.to_json())
    differing = [
        f"{name} is {now.get(name)!r}, was {then.get(name)!r}"
        for name in sorted(then | now)
        if then.get(name) != now.get(name)
    ]
    if differing:
        raise InputError(f"expected the settings of {folder} to resume it: {'; '.join(differing)}")


def _flat(document: dict[str, Any]) -> dict[str, Any]:
    return {
        name if not isinstance(value, dict) else inner: leaf
        for name, value in document.items()
        for inner, leaf in (value.items() if isinstance(value, dict) else [(name, value)])
    }


def _environment(program: Program) -> dict[str, Any]:
    """What decides the last bits of a result, beside the settings."""
    device = program.mesh.devices.flat[0]
    return {
        "device": device.device_kind,
        "devices": program.mesh.size,
        "cores": usable_cores(),
        "jax": jax.__version__,
    }


def _digest(dataset: Dataset) -> str:
    digest = hashlib.sha256()
    for array in (*dataset.train, *dataset.test):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@contextmanager
def _stop_signals() -> Iterator[Callable[[], int | None]]:
    """Note SIGINT and SIGTERM instead of dying of them; the function given tells which came.

    A second one interrupts at once.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def note(number: int, _: object) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, note) for number in numbers]
    try:
        yield lambda: received[0] if received else None
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
