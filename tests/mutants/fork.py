"""Tests run by pytest in a forked child: what is imported already, JAX and torch among it, is not paid for again."""

import contextlib
import gc
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import hook

# What jaxae and its tests import of others, and no more: JAX's backend must not have started when a child is forked.
LIBRARIES = "jax flax.nnx optax orbax.checkpoint jaxtyping beartype einops safetensors.numpy hypothesis sklearn.svm"
LIBRARIES += " sklearn.manifold sklearn.ensemble torch matplotlib.pyplot PIL.Image skimage.metrics tyro rich pytest"
LARGEST_DATA = 8 << 30  # bytes that a child may ask for: some guards stand before far more


def import_libraries() -> None:
    """Import what children share, as far as it is there."""
    for name in LIBRARIES.split():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # children write no counts into the pages that they share


@dataclass(frozen=True)
class Ended:
    """How a child's tests went.

    Attributes:
        status: pytest's exit status: 0 for green, 1 for red, 2 if a file could not be imported; above 5 if the child
            was killed, or ran too long.
        seconds: Time of each test that passed, its fixtures with it.
        red: The tests that did not pass, but were not left out either.
    """

    status: int
    seconds: dict[str, float]
    red: list[str]
    output: str


def run_tests(
    files: Sequence[str],
    *,
    job: Path | None = None,
    tests: Sequence[str] | None = None,
    longest: float = 2400,
    meanwhile: Callable[[], object] = lambda: None,
    root: Path = hook.REPOSITORY,
) -> Ended:
    """Run test files in a child, with a job installed.

    Args:
        files: Test files, from the root on.
        job: The hook's job, if any.
        tests: The tests of them to run, in this order, up to the first that is red; None for all of them.
        longest: Seconds after which the child is killed.
        meanwhile: What to do now and then until it ends.
        root: Folder in which it runs.

    Raises:
        RuntimeError: If pytest did not run, or not those tests.
    """
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        log, outcome = Path(folder, "log"), Path(folder, "outcome.json")
        sys.stdout.flush()
        child = os.fork()
        if not child:
            _be_child(files, job, tests, root, Path(folder))
        status = _wait(child, longest, meanwhile)
        output = log.read_text(errors="replace")[-9000:]
        if status in (3, 4, 5):
            raise RuntimeError(f"pytest ended with status {status}: {output}")
        told = json.loads(outcome.read_text()) if outcome.exists() else {"seconds": {}, "red": []}
        if tests is not None and status == 0 and (lost := set(tests) - set(told["seconds"])):
            raise RuntimeError(f"pytest did not pass, nor fail, {sorted(lost)}: {output}")
        return Ended(status, told["seconds"], told["red"], output)


def _wait(child: int, longest: float, meanwhile: Callable[[], object]) -> int:
    """The child's exit status; what it leaves behind is killed."""
    end = time.monotonic() + longest
    pause = 0.01
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        meanwhile()
        if done or time.monotonic() > end:
            break
        time.sleep(pause)
        pause = min(2 * pause, 0.1)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    if not done:
        os.waitpid(child, 0)
        return 100
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 100 - code


def _be_child(files: Sequence[str], job: Path | None, tests: Sequence[str] | None, root: Path, folder: Path) -> None:
    """Run pytest, and end the process."""
    status, chosen = 3, None
    try:
        os.setsid()
        os.chdir(root)
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT)
        null = os.open(os.devnull, os.O_RDONLY)
        for theirs, ours in ((null, 0), (log, 1), (log, 2)):
            os.dup2(theirs, ours)
        resource.setrlimit(resource.RLIMIT_DATA, (LARGEST_DATA, LARGEST_DATA))
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(folder / "hypothesis")
        recorder = hook.install(str(job)) if job else None
        import pytest

        chosen = _Chosen(tests, recorder)
        plugins: list[object] = [chosen]
        if job and recorder and (switch := json.loads(job.read_text()).get("switch")):
            from .switched import Switches

            plugins.append(Switches(switch, recorder))
        options = ["-q", "--tb=line", "-p", "no:cacheprovider", f"--basetemp={folder / 'base'}", f"--rootdir={root}"]
        options += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
        options += ["--hypothesis-seed=0"] if "hypothesis" in sys.modules else []
        options += ["-x"] if tests is not None else []
        status = int(pytest.main([*options, *files], plugins=plugins))
    except BaseException:  # pytest's own too: what a red test leaves open may break its last step
        traceback.print_exc()
        status = 1 if chosen and chosen.red else status
    finally:
        if chosen:
            told = json.dumps({"seconds": chosen.passed(), "red": chosen.red})
            (folder / "outcome.json").write_text(told)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class _Chosen:
    """A plugin of pytest: runs chosen tests in their order, and keeps how each went."""

    def __init__(self, tests: Sequence[str] | None, recorder: hook.Recorder | None):
        self._places = None if tests is None else {test: place for place, test in enumerate(tests)}
        self._recorder = recorder
        self._seconds: dict[str, float] = {}
        self._other: set[str] = set()
        self.red: list[str] = []

    def passed(self) -> dict[str, float]:
        return {test: round(spent, 3) for test, spent in self._seconds.items() if test not in self._other}

    def pytest_collection_modifyitems(self, items: list) -> None:
        places = self._places
        if places is not None:
            items[:] = sorted((one for one in items if one.nodeid in places), key=lambda one: places[one.nodeid])

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if self._recorder:
            self._recorder.begin(nodeid)

    def pytest_runtest_logreport(self, report) -> None:
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0.0) + report.duration
        if not report.passed:
            self._other.add(report.nodeid)
        if report.failed and report.nodeid not in self.red:
            self.red.append(report.nodeid)
