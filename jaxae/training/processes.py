"""Processes that train one model together: how many there are, which this is, and their line to each other.

JAX's own runtime connects them (`jax.distributed`): gloo sums gradients between CPUs, NCCL between GPUs. Process 0
coordinates, and alone writes: logs, metrics, checkpoints and figures.
"""

from typing import Any

import jax

# JAX's own, whose types have no public names.
Client = Any
RuntimeState = Any


def process_count() -> int:
    """Number of processes that train together; 1 where none has joined others."""
    return runtime_state().num_processes if jax.distributed.is_initialized() else 1


def process_index() -> int:
    """Number of this process among them, from 0."""
    return runtime_state().process_id if jax.distributed.is_initialized() else 0


def client() -> Client:
    """JAX's line to the coordinator: a store of strings, and barriers."""
    return runtime_state().client


def runtime_state() -> RuntimeState:
    """What JAX knows of its processes before its devices are started."""
    # It has no public name; Orbax reads it here too.
    from jax._src import distributed

    return distributed.global_state
