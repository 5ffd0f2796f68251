"""How a pair is measured."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from jaxae.bench.pair.contenders import PAIR_CONTENDERS, REFERENCE, PairContender, find_one
from jaxae.bounds import Checked, Count, PositiveAmount, Range, Workers
from jaxae.errors import InputError


@dataclass(frozen=True)
class PairSettings(Checked):
    """How a pair of networks is measured.

    Attributes:
        contenders: Names of the contenders, out of `jaxae.bench.PAIR_CONTENDERS`; None takes all. Eager torch, to which
            the others are held, always runs.
        device: Kind of device to run on.
        rounds: Number of rounds, in each of which every contender has one turn.
        turn_seconds: Approximate length of a turn in seconds.
        threads: Number of processor cores for each contender; None takes all.
        tolerance: Largest relative difference from eager torch's first costs at which a contender counts as equal.
        bfloat16_tolerance: The same of contenders in bfloat16.
        tf32: Whether a GPU may round float32 factors to TensorFloat-32, in both frameworks.
        deterministic: Whether a GPU uses only kernels that repeat to the bit, in both frameworks.
        trace: New folder for a profiler's trace of each contender's steps, which https://ui.perfetto.dev shows.
    """

    contenders: tuple[str, ...] | None = None
    device: Literal["cpu", "gpu"] = "cpu"
    rounds: Count = 11
    turn_seconds: Annotated[float, Range(0, 600, inner=True)] = 0.5
    threads: Workers | None = None
    # First 20 costs of the two frameworks: 1e-6 apart for two layers, 2e-5 with a convolution and a batch norm.
    tolerance: PositiveAmount = 1e-4
    bfloat16_tolerance: PositiveAmount = 5e-2
    tf32: bool = False
    deterministic: bool = False
    trace: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.device == "cpu" and (self.tf32 or self.deterministic):
            raise InputError("expected tf32 and deterministic only with a gpu, got cpu")
        if self.contenders == ():
            raise InputError("expected at least one contender, got none")
        for name in self.contenders or ():
            find_one(name)

    @property
    def chosen(self) -> list[PairContender]:
        """The contenders to run, in the table's order, of which the reference is the first."""
        wanted = None if self.contenders is None else {REFERENCE, *self.contenders}
        return [one for one in PAIR_CONTENDERS if wanted is None or one.name in wanted]

    def tolerance_of(self, contender: PairContender) -> float:
        """The tolerance that a contender is held to."""
        return self.bfloat16_tolerance if contender.dtype == "bfloat16" else self.tolerance
