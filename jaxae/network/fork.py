"""Forks: a process forked from one whose JAX had started has none of its threads, and would wait for them for ever."""

import os

import jax

from jaxae.errors import InputError

_forked = False


def check_not_forked() -> None:
    """Refuse to run a compiled program where it would hang.

    Raises:
        InputError: If this process was forked from one in which JAX had started.
    """
    if _forked:
        raise InputError(
            "expected a process that JAX was not started in before a fork, got one: make it by multiprocessing's spawn"
        )


def _note_fork() -> None:
    """Note, in a child, whether JAX had started before the fork."""
    global _forked
    devices = jax.config.values["jax_num_cpu_devices"]
    try:  # a setting that JAX takes until it has started; of the start itself it tells nothing in public
        jax.config.update("jax_num_cpu_devices", devices + 1)
    except RuntimeError:
        _forked = True
    else:
        jax.config.update("jax_num_cpu_devices", devices)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
