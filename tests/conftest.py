import ast
import atexit
import ctypes
import gc
import importlib.util
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import checked_types  # noqa: F401  first: see there
import jax
import pytest
from commands.flags import SCRIPTS, main_of
from jaxtyping import config as jaxtyping_config
from scripted import settings_kept

from jaxae.cli import run
from jaxae.data.mnist import FOLDER
from jaxae.training.runtime import keep_compiled_programs, set_xla_flags

for number in (signal.SIGINT, signal.SIGHUP):  # a shell's "&" and nohup have programs ignore them, and what these start
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

# What is computed once and what is compiled once, by whichever worker or script: one folder of this run of the tests.
if "JAXAE_CACHE" not in os.environ:
    os.environ["JAXAE_CACHE"] = tempfile.mkdtemp(prefix="jaxae-tests-")
    atexit.register(shutil.rmtree, os.environ["JAXAE_CACHE"], ignore_errors=True)
keep_compiled_programs()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.02)
set_xla_flags()  # before the backend starts: what is tested is what the scripts run
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")

REPOSITORY = Path(__file__).resolve().parents[1]


RESTING_BYTES = 1_500_000_000  # resident memory of a worker, above which what it compiled is dropped between two tests


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--processes 4` has four processes train together in tests/training/test_processes.py."""
    parser.addoption("--processes", type=int, default=2, help="number of processes that train together (default: 2)")


@pytest.fixture(scope="module", autouse=True)
def no_programs_kept() -> Iterator[None]:
    """Drop a file's compiled programs when it ends: a worker that keeps all takes gigabytes."""
    yield
    drop_programs()


@pytest.fixture(autouse=True)
def few_programs_kept() -> Iterator[None]:
    """Drop compiled programs between two tests of a file that has many."""
    yield
    if resident_bytes() > RESTING_BYTES:
        drop_programs()


def drop_programs() -> None:
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux":  # glibc keeps what was freed, for itself
        ctypes.CDLL(None).malloc_trim(0)


def resident_bytes() -> int:
    """Bytes of memory that this process has now; 0 where the system does not tell."""
    table = Path("/proc/self/statm")
    return int(table.read_text().split()[1]) * resource.getpagesize() if table.exists() else 0


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """No checks of types for one test, which hands over wrong ones to see them refused."""
    monkeypatch.setattr(jaxtyping_config, "jaxtyping_disable", True)


class Ended(NamedTuple):
    """How a command ended: its exit status and what it wrote."""

    status: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Ended]]:
    """Runs a script in this process, which has imported what a process of its own would import anew."""

    def end(name: str, *flags: object) -> Ended:
        monkeypatch.setattr(sys, "argv", [str(SCRIPTS / name), *map(str, flags)])
        status = 0
        try:
            run(main_of(name.removesuffix(".py")))
        except SystemExit as ended:
            status = int(ended.code or 0)
        written = capsys.readouterr()
        return Ended(status, written.out, written.err)

    jax.devices()  # started with this file's settings, whatever the command asks for
    with settings_kept():
        yield end


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
