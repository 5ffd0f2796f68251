"""JAX in a worker process: its arithmetic and devices, and what is asked of them."""

import importlib.metadata
import time
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxae.bench.runner import FrameworkInfo, Work, thread_pools
from jaxae.config import ComputeDtype
from jaxae.training.runtime import make_mesh


class JaxDevice:
    """JAX on devices, counting what it compiles.

    Args:
        mesh: Devices that share a batch.
        dtype: Dtype of the contender's arithmetic.
    """

    def __init__(self, mesh: Mesh, dtype: ComputeDtype):
        self._used, self._dtype = list(mesh.devices.flat), dtype
        self.devices = mesh.size
        _count_compilations()

    def compilations(self) -> int:
        """Programs compiled so far."""
        return _count_compilations()[0]

    def device_memory(self) -> int | None:
        """Peak bytes on the devices; None on a CPU."""
        if self._used[0].platform == "cpu":
            return None
        return sum(device.memory_stats()["peak_bytes_in_use"] for device in self._used)

    def multiply(self, size: int) -> float:
        """Seconds of one matrix product."""
        rng = np.random.default_rng(0)
        a, b = (jnp.asarray(rng.random((size, size), np.float32), self._dtype) for _ in range(2))
        _product(a, b).block_until_ready()
        begun = time.perf_counter()
        _product(a, b).block_until_ready()
        return time.perf_counter() - begun

    def work(self) -> Work | None:
        """The models' own FLOPs are counted elsewhere."""
        return None

    def traced(self, folder: Path) -> AbstractContextManager[object]:
        """Within which JAX's profiler watches; its files lie in a folder `plugins`, Perfetto's is named so."""
        return jax.profiler.trace(str(folder), create_perfetto_trace=True)

    def copy(self, size: int) -> float:
        """Seconds in which so many bytes are read and as many written."""
        read = jnp.zeros(size // 4, jnp.float32)
        _copied(read).block_until_ready()
        begun = time.perf_counter()
        _copied(read).block_until_ready()
        return time.perf_counter() - begun

    @staticmethod
    def describe(device: str) -> FrameworkInfo:
        """Versions and device.

        Raises:
            InputError: If the device is not there.
        """
        configure(device)
        mesh = make_mesh(device=device)
        versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy")}
        report = jax.print_environment_info(return_string=True)
        return FrameworkInfo(versions, mesh.devices.flat[0].device_kind, report or "", thread_pools())


@cache
def _count_compilations() -> list[int]:
    """The number of programs compiled since the first call, which goes on counting."""
    count = [0]

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        count[0] += event == "/jax/core/compile/backend_compile_duration"

    jax.monitoring.register_event_duration_secs_listener(listen)
    return count


def configure(device: str, *, cpu_devices: int = 1, tf32: bool = False) -> None:
    """Choose devices and arithmetic, before JAX's first operation."""
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
        if cpu_devices > 1:
            jax.config.update("jax_num_cpu_devices", cpu_devices)
    jax.config.update("jax_default_matmul_precision", "tensorfloat32" if tf32 else "highest")


_product = jax.jit(jnp.matmul)
_copied = jax.jit(jnp.negative)
