"""What a benchmark measures, and how: its settings, which are the script's flags too."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from jaxae.bench.contenders import SWEEP, Contender, select
from jaxae.bench.problem import PRESETS
from jaxae.bounds import Checked, Count, Range, Widths, Workers, told, usable_cores
from jaxae.cli import Switch, default
from jaxae.errors import InputError

Sweep = Literal["batch", "models", "threads", "devices"]
# What a sweep varies, in words.
SWEPT: dict[Sweep, str] = {
    "batch": "batch size",
    "models": "number of models trained at once",
    "threads": "number of processor cores",
    "devices": "number of devices that share a batch",
}

SWEEP_BATCHES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
SWEEP_MODELS = (1, 2, 4, 8, 16)


class Compared(NamedTuple):
    """What contenders are compared on: fields of `BenchmarkSettings`, and the number of models trained at once."""

    model: str
    batch_size: int
    models: int = 1
    threads: int | None = None
    devices: int | None = None


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
        sweep: Quantity to measure throughput against: the batch size, the number of models trained at once, of
            processor cores, or of devices that share a batch.
        sizes: Values of that quantity.
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
    sizes: Annotated[
        Widths | None, default("powers of 2, to 4096, to 16, or to the number of cores", "[INT [INT ...]]")
    ] = None
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
            (self.sweep != "threads" or self.threads is None, "no threads beside a sweep over them", self.threads),
            (self.sweep != "devices" or self.devices is None, "no devices beside a sweep over them", self.devices),
            (self.device == "gpu" or not of_gpu, "tf32 and deterministic only with a gpu", self.device),
        ):
            if not holds:
                raise InputError(f"expected {expected}, got {came}")
        select(self.contenders, self.device)
        largest = max(one.batch_size for one in self.compared())
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

    def compared(self) -> Iterator[Compared]:
        """What contenders are compared on, one after another."""
        for model in self.models:
            usual = self.batch_size or PRESETS[model].train.batch_size
            one = Compared(model, usual, threads=self.threads, devices=self.devices)
            if self.sweep is None:
                yield one
            elif self.sweep == "batch":
                yield from (one._replace(batch_size=size) for size in self.sizes or SWEEP_BATCHES)
            elif self.sweep == "models":
                yield from (one._replace(models=size) for size in self.sizes or SWEEP_MODELS)
            else:
                cores = usable_cores()
                sizes = self.sizes or sorted({*(2**power for power in range(cores.bit_length())), cores})
                yield from (one._replace(**{self.sweep: size}) for size in sizes)
