import ast
import ctypes
import gc
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import checked_types  # noqa: F401  first: see there
import jax
import pytest
from jaxtyping import config as jaxtyping_config

from jaxae.data.mnist import FOLDER
from jaxae.training.runtime import set_xla_flags

set_xla_flags()  # before the backend starts: what is tested is what the scripts run
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", autouse=True)
def no_programs_kept() -> Iterator[None]:
    """Drop a file's compiled programs when it ends: a worker that keeps all takes gigabytes."""
    yield
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux":  # glibc keeps what was freed, for itself
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """No checks of types for one test, which hands over wrong ones to see them refused."""
    monkeypatch.setattr(jaxtyping_config, "jaxtyping_disable", True)


@pytest.fixture
def x64() -> Iterator[None]:
    """float64 in JAX for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """A folder of the four real MNIST IDX files: the package's own."""
    return FOLDER


def programs_of(function: Any) -> int:
    """How many programs a function under `jax.jit` holds, which JAX tells under a private name."""
    return function._cache_size()


LEFT_OUT: list[str] = []


def needs_torch(path: Path) -> bool:
    """Whether a test file imports torch, or what is made of it, as it is collected."""
    names: list[str] = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return any(name.split(".")[0] in {"torch", "torch_ref"} for name in names)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the files that need torch where it is not installed."""
    if collection_path.suffix != ".py" or importlib.util.find_spec("torch") is not None:
        return None
    if not needs_torch(collection_path):
        return None
    LEFT_OUT.append(collection_path.name)
    return True


def pytest_report_collectionfinish() -> str | None:
    """Say what was left out."""
    return f"without torch, left out: {', '.join(sorted(set(LEFT_OUT)))}" if LEFT_OUT else None
