"""Train a model: epochs, log lines, progress, metrics, checkpoints, around the compiled step."""

import signal
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxae.bounds import Amount, Count, check
from jaxae.config import RunConfig
from jaxae.data.dataset import Dataset
from jaxae.data.stream.streamed import StreamedDataset, StreamedSplit, count_of
from jaxae.errors import DivergenceError, InputError, StoppedError
from jaxae.network.models import Model, with_parameters
from jaxae.network.pixel_cost import bits_per_dimension
from jaxae.training.agreement import agreed, as_first, check_alike, from_first
from jaxae.training.best import out_of_patience
from jaxae.training.checkpoint import Checkpoints
from jaxae.training.checks import check_chunk, check_own_optimizer, check_training
from jaxae.training.course import course_of
from jaxae.training.feed import Chunk, chunks_in_memory, chunks_of_stream
from jaxae.training.keeper import Keeper
from jaxae.training.moment import Callback, Moment, any_ends
from jaxae.training.placement import here, put_examples, put_state
from jaxae.training.plan import Plan, evaluation_plan
from jaxae.training.processes import process_count, process_index
from jaxae.training.program import Corruption, Program, program_of
from jaxae.training.progress import Progress
from jaxae.training.run_folder import Circumstances, MetricsLine, RunFolder, flat, save_weights, telling_how_to_go_on
from jaxae.training.runtime import make_mesh
from jaxae.training.schedule import make_schedule
from jaxae.training.state import Metrics, TrainState, hyperparameters_of
from jaxae.training.stop_signals import StopSignal, stop_signals
from jaxae.training.trainer import Trainer


class FitResult(NamedTuple):
    """A trained model, the state it came from, and what `metrics.jsonl` records."""

    model: Model
    state: TrainState
    metrics: list[MetricsLine]


AfterEpoch = Callable[[Model, list[MetricsLine]], None]


def fit(
    config: RunConfig,
    dataset: Dataset | StreamedDataset,
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    mesh: Mesh | None = None,
    log_every: int = 50,
    checkpoint_seconds: float = 10.0,
    log: Callable[[str], None] | None = None,
    show_progress: bool = False,
    after_epoch: AfterEpoch | None = None,
    callbacks: Sequence[Callback] = (),
    corrupt: Corruption | None = None,
    optimizer: optax.GradientTransformation | None = None,
) -> FitResult:
    """Train a model as configured, evaluating on the test set after each epoch.

    Of processes that train together (`jaxae.training.processes`) each calls this with the same arguments; process 0
    alone logs, calls `after_epoch` and callbacks, and has the run directory.

    Args:
        config: Model, training and the name of the data; a preset, perhaps with `replace`.
        dataset: Data set to train on, as `jaxae.load` returns it, or `jaxae.stream`, whose training set stays on disk.
        run_dir: Folder for configuration, metrics, checkpoints and weights; else none is written.
        resume: Continue from the run directory's newest checkpoint, to the very bits.
        mesh: Devices that share a batch; by default as many as `make_mesh` gives.
        log_every: Steps between two logged costs, and in one compiled chunk.
        checkpoint_seconds: Least seconds between checkpoints; 0 saves one after every epoch.
        log: Function that takes the post's lines, such as `print`.
        show_progress: Show progress on standard error: a bar on a terminal, else a line now and then.
        after_epoch: Function that is called after each epoch with the model as it is and the metrics so far, such as
            one that draws figures.
        callbacks: Functions that are called with a `Moment` at each logged step and after each epoch. One that returns
            True ends the training with the epoch, weights and all; what one raises passes through, with a checkpoint
            in the run directory.
        corrupt: Function of a key and an image, whose result the network is shown in the image's place (denoising).
        optimizer: Optimizer of optax, or a chain, in place of Adam: it has its own learning rate, and the
            configuration's is not used. A resume is given the same once more.

    Returns:
        The trained model, of the last epoch or the best, averaged where `ema_decay` says so; the last state; and the
        metrics.

    Raises:
        InputError: If the data does not suit the model or the run directory, or other processes train with other
            arguments.
        DivergenceError: If a cost or gradient is not finite.
        StoppedError: If SIGINT, SIGTERM or SIGHUP came; the run directory then holds a checkpoint.
    """
    mesh = mesh or make_mesh(batch_size=config.train.batch_size)
    check_training(config, dataset, mesh)
    config = config.replace(class_names=dataset.class_names)
    check("log_every", log_every, Count)
    check("checkpoint_seconds", checkpoint_seconds, Amount)
    if isinstance(dataset, StreamedDataset):
        check_chunk(config, dataset, log_every)
    if corrupt is not None and config.train.replay != "no":
        raise InputError("expected no corruption in a replay, whose random stream has none, got one")
    if optimizer is not None:
        check_own_optimizer(config)
    log = log or (lambda line: None)
    program = replace(program_of(config, mesh, corrupt, optimizer), streams=isinstance(dataset, StreamedDataset))
    if process_count() > 1:
        arguments = {
            "run_dir": run_dir is not None,
            "resume": resume,
            "log_every": log_every,
            "streams": program.streams,
            "callbacks": len(callbacks),
            "optimizer": optimizer is not None,
        }
        # The data by their digest: the same have other paths on other machines.
        check_alike({**flat(config.replace(data="").to_json()), **arguments, **Circumstances(dataset, program).alike()})
    if process_index():
        log, after_epoch, show_progress = lambda line: None, None, False
    tell = _Told(log, after_epoch, callbacks)
    if run_dir is None:
        run = _Run(config, dataset, program, log_every, tell)
        run.train(show_progress=show_progress)
        return run.result()
    if process_index():
        with stop_signals() as stop:
            run = _Run(config, dataset, program, log_every, tell)
            run.begin(resume=resume)
            run.train(show_progress=show_progress, stop=agreed(stop, mesh))
        return run.result()
    with (
        RunFolder.open(Path(run_dir), config, resume=resume) as folder,
        stop_signals() as stop,
        Checkpoints(folder.checkpoints) as checkpoints,
    ):
        keeper = Keeper(folder, checkpoints, checkpoint_seconds, config, Circumstances(dataset, program))
        run = _Run(config, dataset, program, log_every, tell, keeper)
        run.begin(resume=resume)
        run.train(show_progress=show_progress, stop=agreed(stop, mesh))
        # A signal that comes now is too late to stop anything: the weights are written.
        with telling_how_to_go_on():
            save_weights(folder.weights_file, config, here(run.trainer.state).trained)
    return run.result()


class _Told(NamedTuple):
    """Those who are told of a training: its lines, its epochs, its moments."""

    log: Callable[[str], None]
    after_epoch: AfterEpoch | None
    callbacks: Sequence[Callback]


class _Run:
    """One training underway: its trainer, its schedule, and the metrics it has recorded."""

    def __init__(
        self,
        config: RunConfig,
        dataset: Dataset | StreamedDataset,
        program: Program,
        log_every: int,
        told: _Told,
        keeper: Keeper | None = None,
    ):
        self.config = config
        self.log_every = log_every
        self.told = told
        self.ended = False
        self.keeper = keeper
        count = count_of(dataset)
        self.train_set = dataset.train
        self.schedule = make_schedule(config, count)
        self.trainer = Trainer.start(
            program,
            self.schedule.init_parameters(),
            None if isinstance(dataset, StreamedDataset) else dataset.train,
            hyperparameters_of(config),
            course_of(config, count),
            keep_best=config.train.keeps_best,
            ema_decay=config.train.ema_decay,
        )
        self.test_set = put_examples(program, *dataset.test)
        self.test_plan = self.trainer.place(evaluation_plan(len(dataset.test.labels)))
        self.steps_per_epoch = -(-count // config.train.batch_size)
        self.metrics: list[MetricsLine] = []

    @property
    def steps_taken(self) -> int:
        """Number of steps taken so far."""
        return int(self.trainer.state.step)

    def begin(self, *, resume: bool) -> None:
        """Go back to the run folder's newest checkpoint, or begin its metrics anew."""
        like = self.trainer.state
        kept = self.keeper.resume(like) if resume and self.keeper else None
        if resume and (kept := from_first(kept, like)):
            state, self.metrics = kept
            self.trainer.state = put_state(self.trainer.program, state)
        if not self.metrics and self.keeper:
            self.keeper.folder.write_metrics([])

    def train(self, *, show_progress: bool, stop: StopSignal = lambda: None) -> None:
        """Take the steps that are left."""
        train = self.config.train
        start = time.perf_counter()
        first = self.steps_taken
        total = train.epochs * self.steps_per_epoch
        epochs, more = divmod(first, self.steps_per_epoch)
        if epochs and not more and "test_cost" not in self.metrics[-1]:
            self._evaluate(epochs - 1)  # the log's reader went away between the epoch's last step and its test
        with Progress(total, first, train.batch_size, shown=show_progress) as progress:
            for epoch in range(epochs, train.epochs):
                if self._is_over(epoch):
                    why = "by a callback" if self.ended else f"{train.patience} epochs without a better test cost"
                    self._tell(f"Stopped after epoch {epoch:03d}/{train.epochs:03d} | {why}")
                    break
                self._train_epoch(epoch, progress, stop)
                self._evaluate(epoch)
                if self.told.callbacks:
                    self.ended = as_first(self.ended)
                self._save(force=self._is_over(epoch + 1))
                if self.told.after_epoch is not None:
                    model = with_parameters(self.config.model, here(self.trainer.state).used)
                    self.told.after_epoch(model, self.metrics)
                self._tell(f"Time elapsed: {(time.perf_counter() - start) / 60:.2f} min")
                self._stop_if_asked(stop)
        best = self.trainer.state.best
        if best is not None and best.epoch:
            self._tell(f"Best epoch: {int(best.epoch):03d}/{train.epochs:03d} | Test cost: {float(best.cost):.4f}")
        self._tell(f"Total Training Time: {(time.perf_counter() - start) / 60:.2f} min")

    def result(self) -> FitResult:
        """The trained model with what was recorded."""
        state = here(self.trainer.state)
        return FitResult(with_parameters(self.config.model, state.trained), state, self.metrics)

    def _is_over(self, epoch: int) -> bool:
        """Whether no epoch comes after so many."""
        train = self.config.train
        return epoch >= train.epochs or self.ended or out_of_patience(self.trainer.state.best, epoch, train.patience)

    def _train_epoch(self, epoch: int, progress: Progress, stop: StopSignal) -> None:
        plan = self.schedule.plan(epoch)
        pending: tuple[int, int, Metrics] | None = None
        with closing(self._chunks(plan, self.steps_taken - int(plan.first_step))) as chunks:
            for begin, end, placed, examples in chunks:
                metrics = self.trainer.take(placed, end - begin, examples)
                # A chunk late: reading the costs of this one would leave the devices idle meanwhile.
                if pending:
                    self._record(epoch, *pending, progress)
                pending = (begin, end, metrics)
                if stop():
                    break
        if pending:
            self._record(epoch, *pending, progress)
        if self.steps_taken < plan.first_step + self.steps_per_epoch:
            self._stop_if_asked(stop)

    def _chunks(self, plan: Plan, begin: int) -> Generator[Chunk]:
        if isinstance(self.train_set, StreamedSplit):
            return chunks_of_stream(self.trainer.program, self.train_set, plan, begin, self.log_every)
        return chunks_in_memory(self.trainer, plan, begin, self.log_every)

    def _record(self, epoch: int, begin: int, end: int, metrics: Metrics, progress: Progress) -> None:
        costs = np.asarray(metrics.cost)[: end - begin]
        step = epoch * self.steps_per_epoch + begin
        if not np.isfinite(costs).all():
            bad = int(np.argmin(np.isfinite(costs)))
            raise DivergenceError(
                f"the cost or gradient of step {step + bad} (epoch {epoch + 1}, batch "
                f"{begin + bad}) is not finite; expected a smaller learning rate than "
                f"{self.config.train.learning_rate}"
            )
        values = {name: float(values[0]) for name, values in metrics._asdict().items()}
        self._write({"epoch": epoch + 1, "step": step, "batch": begin, **values})
        self._tell(
            f"Epoch: {epoch + 1:03d}/{self.config.train.epochs:03d} | "
            f"Batch {begin:03d}/{self.steps_per_epoch:03d} | Cost: {costs[0]:.4f}"
        )
        progress.advance(end - begin, float(costs[-1]))

    def _evaluate(self, epoch: int) -> None:
        test = self.trainer.evaluate(self.test_set, self.test_plan)
        values: MetricsLine = {f"test_{name}": float(value) for name, value in test._asdict().items()}
        if (bits := bits_per_dimension(self.config.model, *test[1:])) is not None:
            values["test_bits_per_dimension"] = float(bits)
        self.trainer.keep_better(test, epoch + 1, self.config.train.patience)
        if self.trainer.state.best is not None:
            values["best_epoch"] = int(self.trainer.state.best.epoch)
        self._write({"epoch": epoch + 1, "step": (epoch + 1) * self.steps_per_epoch, **values})

    def _write(self, line: MetricsLine) -> None:
        line["time"] = time.time()
        self.metrics.append(line)
        if self.keeper is not None:
            self.keeper.folder.append_metrics(line)
        if self.told.callbacks and not process_index():
            moment = Moment(int(line["epoch"]), int(line["step"]), dict(line), "test_cost" in line, self._model)
            try:
                self.ended |= any_ends(self.told.callbacks, moment)
            except BaseException:
                self._save(force=True)
                raise

    def _model(self) -> Model:
        # A copy: the next step takes the memory of what it was given.
        return with_parameters(self.config.model, jax.tree.map(jnp.copy, here(self.trainer.state).used))

    def _save(self, *, force: bool) -> None:
        if self.keeper is not None:
            self.keeper.save(self.trainer.state, len(self.metrics), force=force)

    def _tell(self, line: str) -> None:
        try:
            self.told.log(line)
        except OSError:  # whoever read the lines has gone, or what keeps them is full: the steps so far are kept
            self._save(force=True)
            raise

    def _stop_if_asked(self, stop: StopSignal) -> None:
        number = stop()
        if number is None:
            return
        self._save(force=True)
        where = self.keeper.folder.path if self.keeper else "process 0's run directory"
        raise StoppedError(
            f"stopped by {signal.Signals(number).name} after step {self.steps_taken}, "
            f"which is saved in {where}; --resume continues from there",
            number,
        )
