"""Reading a network: its runs on two batches, in two precisions, in inference and in training, as one graph each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from jaxae.errors import InputError
from jaxae.translation.align import DifferError, align
from jaxae.translation.graph import Graph
from jaxae.translation.settings import default_dtype
from jaxae.translation.watch import Watcher
from torch_ref.copies import copied

_BATCH = 3  # rows where an input has one, of which nothing can be told


@dataclass(frozen=True)
class Observed:
    """What a network does.

    Attributes:
        inference: In inference mode.
        training: In training mode; None where it does not run there.
        other: Arguments with another size of the batch; None where it runs with this one alone.
        refusals: What cannot be translated, each with its place.
        notes: What a user should know.
    """

    inference: Graph
    training: Graph | None
    other: list[np.ndarray] | None
    refusals: list[str]
    notes: list[str]


def read(module: torch.nn.Module, arguments: Sequence[np.ndarray], is_leaf: Callable[[Any], bool]) -> Observed:
    """Watch a network.

    Args:
        module: The network, which is left alone.
        arguments: Its arguments.
        is_leaf: Whether a submodule is one operation.

    Raises:
        InputError: If it does not run on the arguments, or does other things from run to run.
    """
    notes: list[str] = []
    watched = _Watched(module, is_leaf)
    first = watched.run(arguments, torch.float32)
    for other in _others(arguments):
        try:
            graph = align([first, watched.run(other, torch.float64)])
        except (DifferError, RuntimeError, ValueError, IndexError, AssertionError):
            continue
        break
    else:
        other = None
        try:
            graph = align([first, watched.run(arguments, torch.float64)])
        except DifferError as part:
            raise InputError(f"expected a network that does the same from run to run, got {part}") from None
        rows = [len(one) for one in arguments if one.ndim]
        notes.append(f"the sizes of the inputs are fixed ({rows[0] if rows else 'none'} rows): with others it differs")
    training = None
    try:
        second = arguments if other is None else other
        runs = [(arguments, torch.float32), (second, torch.float64)]
        training = align([watched.run(one, dtype, train=True) for one, dtype in runs])
    except (DifferError, RuntimeError, ValueError, IndexError) as error:
        notes.append(f"training mode was not read: {str(error).partition(chr(10))[0]}")
    return Observed(graph, training, other, list(dict.fromkeys(watched.refusals)), notes)


class _Watched:
    def __init__(self, module: torch.nn.Module, is_leaf: Callable[[Any], bool]):
        self._module, self._is_leaf = module, is_leaf
        self.refusals: list[str] = []

    def run(self, arguments: Sequence[np.ndarray], dtype: torch.dtype, *, train: bool = False) -> Graph:
        """One run of a copy."""
        network = copied(self._module).cpu().to(dtype).train(train)
        watcher = Watcher(network, self._is_leaf)
        try:
            with default_dtype(dtype):
                return watcher.watch([_tensor(one, dtype) for one in arguments])
        finally:
            self.refusals += watcher.refusals


def run_once(module: torch.nn.Module, arguments: Sequence[np.ndarray]) -> None:
    """Run a network, so that what is wrong with its inputs is told as torch tells it.

    Raises:
        InputError: If it does not run.
    """
    try:
        network = copied(module).cpu().float().eval()
        with torch.no_grad():
            network(*(_tensor(one, torch.float32).detach() for one in arguments))
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, AssertionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"expected inputs that the torch network takes, got: {reason[:300]}") from error


def _tensor(array: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    tensor = torch.from_numpy(np.array(array, order="C"))
    if not tensor.is_floating_point():
        return tensor
    return tensor.to(dtype).requires_grad_().clone()  # a clone may be overwritten, a leaf that wants gradients may not


def _others(arguments: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
    """The arguments with one row more, along the first axis, and along the second where that holds the batch."""
    found = []
    for axis in (0, 1):
        sizes = [one.shape[axis] for one in arguments if one.ndim > axis]
        if sizes:
            found.append(
                [_longer(one, axis) if one.ndim > axis and one.shape[axis] == sizes[0] else one for one in arguments]
            )
    return found


def _longer(array: np.ndarray, axis: int) -> np.ndarray:
    return np.concatenate([array, np.take(array, [0], axis)], axis)


def several_rows(arguments: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The arguments with several rows where they have one: nothing follows a batch of one."""
    if any(one.ndim and len(one) != 1 for one in arguments):
        return list(arguments)
    return [np.concatenate([one] * _BATCH) if one.ndim else one for one in arguments]
