"""Torch in a worker process: its arithmetic and device, and what is asked of them."""

import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch.utils.collect_env import get_pretty_env_info

from jaxae.bench.runner import FrameworkInfo, thread_pools
from jaxae.config import ComputeDtype
from jaxae.errors import InputError


class TorchDevice:
    """Torch on one device, set up before its first parallel operation.

    Args:
        device: Kind of device.
        dtype: Dtype of the contender's arithmetic.
        threads: Number of threads on a CPU.
        tf32: Whether a GPU may round float32 factors to TensorFloat-32.
        deterministic: Whether a GPU uses only kernels that repeat to the bit.
    """

    whole_epochs = False
    devices = 1

    def __init__(self, device: str, dtype: ComputeDtype, *, threads: int, tf32: bool, deterministic: bool):
        torch.set_num_threads(threads)
        # XLA flushes denormal numbers to zero on a CPU, and so may torch.
        torch.set_flush_denormal(True)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        # XLA tries its kernels out too.
        torch.backends.cudnn.benchmark = not deterministic
        torch.use_deterministic_algorithms(deterministic)
        self._device = torch.device("cuda" if device == "gpu" else "cpu")
        self._dtype: torch.dtype = getattr(torch, dtype)

    def wait(self) -> None:
        """Return when all steps have ended."""
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def compilations(self) -> int:
        """Programs compiled so far."""
        return torch._dynamo.utils.counters["stats"]["unique_graphs"]

    def device_memory(self) -> int | None:
        """Peak bytes on the devices; None on a CPU."""
        return None if self._device.type == "cpu" else torch.cuda.max_memory_allocated()

    def multiply(self, size: int) -> float:
        """Seconds of one matrix product."""
        a, b = (torch.rand(size, size).to(self._device, self._dtype) for _ in range(2))
        product = a @ b
        self.wait()
        begun = time.perf_counter()
        torch.matmul(a, b, out=product)
        self.wait()
        return time.perf_counter() - begun

    def copy(self, size: int) -> float:
        """Seconds in which so many bytes are read and as many written."""
        read = torch.zeros(size // 4, device=self._device)
        written = torch.neg(read)
        self.wait()
        begun = time.perf_counter()
        torch.neg(read, out=written)
        self.wait()
        return time.perf_counter() - begun

    def work(self) -> None:
        """Torch counts no bytes."""

    @contextmanager
    def traced(self, folder: Path) -> Iterator[None]:
        """Within which torch's profiler watches; its file is a Chrome trace."""
        activities = [torch.profiler.ProfilerActivity.CPU]
        if self._device.type == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        with torch.profiler.profile(activities=activities) as profiler:
            yield
        folder.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(folder / "trace.json.gz"))

    @staticmethod
    def describe(device: str) -> FrameworkInfo:
        """Versions and device.

        Raises:
            InputError: If the device is not there.
        """
        if device == "gpu" and not torch.cuda.is_available():
            raise InputError("expected a gpu that torch can use, got only: cpu")
        name = torch.cuda.get_device_name() if device == "gpu" else platform.machine()
        versions = {"torch": torch.__version__, "numpy": np.__version__}
        return FrameworkInfo(versions, name, _report(), thread_pools())


@cache
def _report() -> str:
    return get_pretty_env_info()  # it starts some programs, which takes seconds


def check_compiler(device: torch.device) -> None:
    """Refuse to compile where there is nothing to compile with.

    Raises:
        RuntimeError: If torch.compile needs a C++ compiler and there is none.
    """
    compilers = (os.environ.get("CXX", ""), "g++", "clang++", "c++")
    if device.type == "cpu" and not any(map(shutil.which, compilers)):
        raise RuntimeError("no C++ compiler, which torch.compile needs on a cpu")
