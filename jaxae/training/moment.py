"""What callbacks of a training are told, and how they end it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jaxae.network.models import Model


@dataclass(frozen=True)
class Moment:
    """A moment of a training: a logged step, or the end of an epoch.

    Attributes:
        epoch: Number of the epoch, from 1.
        step: Number of steps taken before the logged one, or up to the epoch's end.
        metrics: The line that `metrics.jsonl` has of it: costs in nats per image, by their names.
        ends_epoch: Whether it is the end of an epoch, whose line has the test set's costs.
        model: Function that gives a copy of the model as it is when called: at an epoch's end that of the epoch, at a
            logged step one of up to two times `log_every` steps later, as the devices go on while costs are read.
    """

    epoch: int
    step: int
    metrics: Mapping[str, float | int]
    ends_epoch: bool
    model: Callable[[], Model]


# One that returns True ends the training with the epoch it is in; what one raises passes through.
Callback = Callable[[Moment], bool | None]


def any_ends(callbacks: Sequence[Callback], moment: Moment) -> bool:
    """Whether a callback ends the training; all are called."""
    answers = [callback(moment) for callback in callbacks]
    return any(answers)
