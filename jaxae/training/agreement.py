"""What processes that train together must have alike: settings, data, where they go on from, and when they stop."""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxae.errors import InputError, brief
from jaxae.training.processes import client, process_count, process_index
from jaxae.training.run_folder import MetricsLine
from jaxae.training.runtime import DATA_AXIS
from jaxae.training.state import TrainState
from jaxae.training.stop_signals import StopSignal

Settings = Mapping[str, object]

_MILLISECONDS = 3_600_000  # for slow readers of large data; of one that ends, the others know sooner
_rounds = itertools.count()


def check_alike(settings: Settings) -> None:
    """Hold what each process trains, and on what, against what the first does.

    Args:
        settings: Values that JSON has, by the name that a message calls them.

    Raises:
        InputError: If any of them has others; in every process.
    """
    if process_count() == 1:
        return
    place = f"jaxae/alike/{next(_rounds)}"
    client().key_value_set(f"{place}/{process_index()}", json.dumps(settings))
    client().wait_at_barrier(place, _MILLISECONDS)
    told = {int(key.rpartition("/")[2]): json.loads(value) for key, value in client().key_value_dir_get(f"{place}/")}
    if differing := differences([told[index] for index in sorted(told)]):
        raise InputError(f"expected the same in all processes, got {'; '.join(differing)}")


def differences(told: Sequence[Settings]) -> list[str]:
    """What the first process that has other settings than process 0 has, in words; none where all are alike."""
    for index, settings in enumerate(told):
        names = [name for name in sorted({*told[0], *settings}) if told[0].get(name) != settings.get(name)]
        if names:
            return [
                f"{name} {brief(settings.get(name), 60)} in process {index}, {brief(told[0].get(name), 60)} in 0"
                for name in names
            ]
    return []


def from_first(
    kept: tuple[TrainState, list[MetricsLine]] | None, like: TrainState
) -> tuple[TrainState, list[MetricsLine]] | None:
    """What process 0 goes on from, in every process: its state to the very bits, and its metrics.

    Args:
        kept: State and metrics in process 0; None where it begins anew.
        like: A state of the same structure, shapes and dtypes.
    """
    if process_count() == 1:
        return kept
    metrics = json.dumps(kept[1]).encode() if kept else b""
    there, length = multihost_utils.broadcast_one_to_all(np.array([kept is not None, len(metrics)], np.int32))
    if not there:
        return None
    # As bytes, whose sum with the zeros of the other processes is what they were: -0.0 too.
    state = jax.tree.map(_as_bytes, kept[0] if kept else like)
    text = np.frombuffer(metrics, np.uint8) if kept else np.zeros(length, np.uint8)
    state, text = multihost_utils.broadcast_one_to_all((state, text))
    restored = jax.tree.map(lambda came, leaf: _array(came).view(leaf.dtype).reshape(leaf.shape), state, like)
    return restored, json.loads(_array(text).tobytes())


def as_first(ends: bool) -> bool:
    """What process 0 says, in every process."""
    if process_count() == 1:
        return ends
    return bool(multihost_utils.broadcast_one_to_all(np.array(ends, np.int32)))


def agreed(stop: StopSignal, mesh: Mesh) -> StopSignal:
    """A signal that came to any process, in all of them at the same call: at the one after it was noted.

    Each call adds up what the devices were told of, in turn with the steps, and reads what the call before it did: a
    sum that is read at once would leave the devices idle meanwhile.
    """
    if process_count() == 1:
        return stop
    share = NamedSharding(mesh, PartitionSpec(DATA_AXIS))
    most = jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))
    asked: list[jax.Array] = []

    def call() -> int | None:
        here = stop() or 0
        noted = jax.make_array_from_callback(
            (mesh.size,), share, lambda index: np.full(mesh.size, here, np.int32)[index]
        )
        asked.append(most(noted))
        return (int(asked.pop(0)) or None) if len(asked) > 1 else None

    return call


def _as_bytes(leaf: Any) -> np.ndarray:
    return np.frombuffer(np.asarray(leaf).tobytes(), np.uint8)


def _array(came: Any) -> np.ndarray:
    """What was broadcast, as bytes of its own: the sum of bytes may have come in a wider type."""
    return np.array(came).astype(np.uint8)
