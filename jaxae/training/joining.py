"""How a process joins others that train with it, and how all of them end.

When one ends before its time it tells the others why, and they end too; of one that could not tell any more the runtime
knows by its connections or its missing heartbeats.
"""

import ctypes
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata

import jax

from jaxae.errors import DivergenceError, InputError, StoppedError, brief
from jaxae.training import native_lines
from jaxae.training.agreement import check_alike
from jaxae.training.processes import client, process_index, runtime_state

# Seconds: for all to be there; until a silent one counts as gone; between two looks for one that has ended, and for
# them to find it; until all have come to the end, where process 0 still draws figures.
_WAIT, _SILENCE, _LOOK, _LINGER, _LAST = 60, 30, 0.5, 2.0, 600
_ENDED = "jaxae/ended/"
_VERSIONS = {name: metadata.version(name) for name in ("jax", "jaxlib", "jaxae")}


@contextmanager
def joined(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> Iterator[None]:
    """Train in the block together with other processes; before JAX's first operation.

    What is None is taken from the environment that SLURM, Open MPI or Kubernetes sets.

    Args:
        coordinator: HOST:PORT at which process 0 listens, as the others reach it.
        num_processes: Number of processes.
        process_id: Number of this one.

    Raises:
        InputError: If they do not find each other within a minute, or one of them ends before its time.
    """
    restore = native_lines.redirect()
    try:
        _connect(coordinator, num_processes, process_id)
    except BaseException:
        if runtime_state().client is None and runtime_state().service is None:
            restore()
        _abandon()
        raise
    watch = _Watch()
    try:
        check_alike({**_VERSIONS, "--num-processes": runtime_state().num_processes})
        yield
        if told := watch.end():
            raise _one_ended(told)
    except (StoppedError, DivergenceError):  # which all processes meet at the same step
        watch.end()
        jax.distributed.shutdown()
        restore()
        raise
    except BaseException as error:
        told, came = watch.end(), error
        if _is_of_the_runtime(error):
            told = told or watch.linger()
            came = _one_ended(told or f"no word from another process: {brief(error, 120)}")
        if told is None:
            watch.tell(came)
        _abandon()
        if came is error:
            raise
        raise came from error
    jax.distributed.shutdown()
    restore()


def _one_ended(told: str) -> InputError:
    return InputError(
        f"expected all processes to go on to the end, got {told}; --resume goes on from the last checkpoint"
    )


class _Watch:
    """Looks, in a thread, whether another process has told that it ends before its time, and then ends this one."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> str | None:
        """Look no more; what another has told until now."""
        self._over.set()
        self._thread.join()
        return self._told()

    def linger(self) -> str | None:
        """What another tells within a while."""
        until = time.monotonic() + _LINGER
        while (told := self._told()) is None and time.monotonic() < until:
            time.sleep(_LOOK)
        return told

    def tell(self, error: BaseException) -> None:
        """Tell the others why this process ends; the first, which keeps what is told, gives them time to hear it."""
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__} "
        with suppress(Exception):
            client().key_value_set(f"{_ENDED}{process_index()}", f"{kind}{brief(error, 240)}".strip())
        if process_index() == 0:
            time.sleep(_LINGER)

    def _look(self) -> None:
        while not self._over.wait(_LOOK):
            if (told := self._told()) is not None and not self._over.is_set():
                line = " ".join(f"error: {_one_ended(told)}".split())
                with suppress(OSError):
                    os.write(sys.stderr.fileno(), f"{line}\n".encode())
                os._exit(2)

    def _told(self) -> str | None:
        with suppress(Exception):  # the coordinator itself may be gone
            for key, reason in client().key_value_dir_get(_ENDED):
                if (number := key.rpartition("/")[2]) != str(process_index()):
                    return f"the end of process {number}: {reason}"
        return None


def _connect(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Find the other processes.

    Raises:
        InputError: If that is not done within a minute.
    """
    until = time.monotonic() + _WAIT
    if coordinator is not None:
        _check_reachable(coordinator, until) if process_id else _check_free(coordinator)
    # JAX's own hold on SIGTERM; what stops a training here is in stop_signals.py.
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    failed: list[Exception] = []

    def initialize() -> None:
        try:
            jax.distributed.initialize(
                coordinator,
                num_processes,
                process_id,
                cluster_detection_method=None if coordinator is None else "deactivate",
                # Longer than is waited for here: JAX ends the process when it is over.
                initialization_timeout=2 * _WAIT,
                heartbeat_timeout_seconds=_SILENCE,
                shutdown_timeout_seconds=_LAST,
            )
        except Exception as error:  # of whichever kind an environment or JAX has
            failed.append(error)

    # In a thread: nothing interrupts JAX while it waits, neither a signal nor a time that is up.
    thread = threading.Thread(target=initialize, daemon=True)
    thread.start()
    while thread.is_alive() and time.monotonic() < until:
        thread.join(0.2)
    if failed:
        raise InputError(f"expected to join the other processes, got {brief(failed[0], 240)}") from failed[0]
    if thread.is_alive():
        where = coordinator or runtime_state().coordinator_address
        count = num_processes or "all"
        raise InputError(
            f"expected {count} processes at {where} within {_WAIT} s, got some that did not come: each needs the same "
            "--coordinator and --num-processes, and a --process-id of its own"
        )


def _check_free(coordinator: str) -> None:
    """Refuse a port that another program listens at."""
    _, port = _parts(coordinator)
    # A machine may have IPv6 switched off though Python knows it.
    with socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise InputError(f"expected a free port for the coordinator {coordinator}, got {error.strerror}") from error


def _check_reachable(coordinator: str, until: float) -> None:
    """Wait for the coordinator to listen."""
    address = _parts(coordinator)
    while True:
        try:
            socket.create_connection(address, timeout=max(0.1, until - time.monotonic())).close()
            return
        except OSError as error:
            if time.monotonic() + _LOOK > until:
                raise InputError(
                    f"expected process 0 to listen at {coordinator} within {_WAIT} s, got {error.strerror or error}"
                ) from error
        time.sleep(_LOOK)


def _parts(coordinator: str) -> tuple[str, int]:
    """Host and port.

    Raises:
        InputError: If they are none.
    """
    host, _, port = coordinator.rpartition(":")
    name = host.strip("[]")
    try:
        address = name, int(port)
        name.encode("idna")  # as a look-up does, which refuses empty parts and long ones by a ValueError
    except ValueError:
        address = "", 0
    if not address[0] or not 0 < address[1] < 2**16:
        raise InputError(f"expected a coordinator HOST:PORT, got {brief(coordinator, 120)}")
    return address


def _is_of_the_runtime(error: BaseException) -> bool:
    """Whether an error says that another process does not answer; JAX makes it a ValueError where a call begins."""
    words = ("Gloo ", "NCCL ", "oordination", "UNAVAILABLE: ", "DEADLINE_EXCEEDED: ")
    return isinstance(error, RuntimeError | ValueError) and any(word in str(error) for word in words)


def _abandon() -> None:
    """Leave without waiting for the others, as JAX would when Python ends."""
    state = runtime_state()
    # They live as long as the process: the end of the service under a client, its own too, is an abort.
    for held in (state.client, state.service):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))
    state.client = state.service = None
