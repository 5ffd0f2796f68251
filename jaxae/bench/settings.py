"""What a benchmark measures, and how: its settings, which are the script's flags too."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from jaxae.bench.contenders import SWEEP, Contender, select
from jaxae.bench.problem import PRESETS
from jaxae.bounds import Checked, Count, Range, Widths, Workers, told
from jaxae.cli import Switch, default
from jaxae.errors import InputError

Sweep = Literal["batch", "models"]

SWEEP_BATCHES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
SWEEP_MODELS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class BenchmarkSettings(Checked):
    """What is measured, and how.

    Attributes:
        models: Names of the models.
        device: Kind of device to train on.
        batch_size: Number of examples per step.
        rounds: Number of rounds, in each of which every contender has one turn.
        contenders: Names of the contenders, out of torch_loader, torch_eager, torch_compile, torch_rewrite,
            torch_rewrite_compile, torch_graph, torch_rewrite_graph, jax_plain, jax_step, jax_epoch and jax_epoch_all.
        sweep: Quantity to measure throughput against: the batch size, or the number of models trained at once.
        sizes: Batch sizes, or numbers of models, of a sweep.
        dtype: Dtype of the networks' arithmetic.
        data: Name of the data set: mnist, digits or another one.
        data_dir: Folder of IDX files or of prepared TFDS data.
        examples: Number of examples in an epoch; a smaller data set is repeated.
        threads: Number of processor cores for each contender.
        devices: Number of devices that share a batch, for the contenders that use all.
        turn_seconds: Approximate length of a turn in seconds; a whole epoch may take longer.
        drawn_noise: Whether timed steps draw their noise from each framework's own generator. The first costs, by which
            contenders are compared, always come from the same given noise.
        tf32: Whether a GPU may round float32 factors to TensorFloat-32, in both frameworks.
        deterministic: Whether a GPU uses only kernels that repeat to the bit, in both frameworks.
        trace: New folder for a profiler's trace of each contender's steps, which https://ui.perfetto.dev shows.
    """

    models: tuple[Literal["ae", "cvae"], ...] = ("ae", "cvae")
    device: Literal["cpu", "gpu"] = "cpu"
    batch_size: Annotated[Count | None, default("256 for ae, 128 for cvae, the original ones", "INT")] = None
    rounds: Count = 11
    turn_seconds: Annotated[float, Range(0, 600, inner=True)] = 0.5
    contenders: Annotated[tuple[str, ...] | None, default(f"all; for a sweep {' '.join(SWEEP)}", "[STR [STR ...]]")] = (
        None
    )
    sweep: Annotated[Sweep | None, default("no sweep")] = None
    sizes: Annotated[Widths | None, default("powers of 2, to 4096 or to 16", "[INT [INT ...]]")] = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    data: str = "mnist"
    data_dir: Annotated[Path | None, default("the package's, or TFDS's own", "PATH")] = None
    examples: Count = 60_000
    threads: Annotated[Workers | None, default("all", "INT")] = None
    devices: Annotated[Workers | None, default("min(cores, batch size // 32)", "INT")] = None
    drawn_noise: Switch = False
    tf32: Switch = False
    deterministic: Switch = False
    trace: Annotated[Path | None, default("no traces", "DIR")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        of_gpu = self.tf32 or self.deterministic
        for holds, expected, came in (
            (self.models, f"models out of {', '.join(PRESETS)}", "none"),
            (self.contenders != (), "at least one contender", "none"),
            (self.sizes is None or self.sweep, "sizes only with a sweep", f"{told(self.sizes)} without one"),
            (self.device == "gpu" or not of_gpu, "tf32 and deterministic only with a gpu", self.device),
        ):
            if not holds:
                raise InputError(f"expected {expected}, got {came}")
        select(self.contenders, self.device)
        largest = max(size for _, size, _ in self.cases())
        if largest > self.examples:
            raise InputError(f"expected a batch of at most {self.examples} examples, got {largest}")

    @property
    def tolerance(self) -> float:
        """Largest relative difference of costs at which contenders count as equal."""
        # bfloat16 keeps 8 bits and TensorFloat-32 11, and roundings differ by framework.
        return 2e-2 if self.dtype == "bfloat16" else 1e-3 if self.tf32 else 1e-5

    @property
    def chosen(self) -> list[Contender]:
        """The contenders to run."""
        return select(self.contenders or (SWEEP if self.sweep else None), self.device)

    def cases(self) -> Iterator[tuple[str, int, int]]:
        """Model, batch size and number of models of each comparison."""
        for model in self.models:
            batch_size = self.batch_size or PRESETS[model].train.batch_size
            if self.sweep == "batch":
                yield from ((model, size, 1) for size in self.sizes or SWEEP_BATCHES)
            elif self.sweep == "models":
                yield from ((model, batch_size, size) for size in self.sizes or SWEEP_MODELS)
            else:
                yield model, batch_size, 1
