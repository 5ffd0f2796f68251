"""A contender's task on a pair."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from jaxae.bench.pair.contenders import MEASURES, Measure, find_one
from jaxae.bench.pair.half import Half, make_pair, read_half
from jaxae.bench.runner import Runner, TimedRunner
from jaxae.bench.worker import Handlers


class PairTask(NamedTuple):
    """What a contender is to run; a field that `PairSettings` has too is described there.

    Attributes:
        contender: Name of the contender.
        measure: Kind of step.
        pair: Name of the function that makes the pair, FILE.py:make say.
        folder: Folder of its weights and arrays.
        threads: Number of processor cores.
    """

    contender: str
    measure: Measure
    pair: str
    folder: str
    threads: int
    device: Literal["cpu", "gpu"]
    tf32: bool
    deterministic: bool


# A half for a runner alone, which may change it.
TakeHalf = Callable[[PairTask], Half]


def made_half(task: PairTask) -> Half:
    """The half of a contender in a process of its own: made there by the user's function.

    Raises:
        InputError: If the function makes another network than it did at first.
    """
    return read_half(make_pair(task.pair), Path(task.folder), find_one(task.contender).framework)


def handlers_of(
    kind: Callable[[PairTask, TakeHalf], Runner], take: TakeHalf = made_half, *, alone: bool = True
) -> Handlers:
    """The answers of a worker of this kind of runner: a question is the kind of step and what is asked of it.

    Args:
        kind: Class of the runner.
        take: What gives a runner its half.
        alone: Whether the process has no other runner.
    """

    def make(task: PairTask) -> Runner:
        return kind(task, take)

    timed = {measure: TimedRunner(make, PairTask, alone=alone).handlers for measure in MEASURES}
    return {f"{measure} {do}": answer for measure, own in timed.items() for do, answer in own.items()}
