"""How scripts end before their time: by signals, by readers that go, by output without room."""

import atexit
import contextlib
import errno
import gc
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pytest
from commands.flags import SCRIPTS, main_of
from conftest import REPOSITORY

import torch_ref.ending
import torch_ref.errors
from jaxae import ending
from jaxae.cli import run
from jaxae.errors import DivergenceError, InputError, StoppedError
from jaxae.storage.files import check_writable, write_text
from jaxae.training.stop_signals import stop_signals

NAMES = sorted(path.stem for path in SCRIPTS.glob("*.py"))
COMMANDS = {name: [str(SCRIPTS / f"{name}.py")] for name in NAMES} | {"torch_ref": ["-m", "torch_ref.train", "ae"]}
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="trains torch's models")
AUTOENCODER = REPOSITORY / "jaxae" / "pretrained" / "ae-mnist"
TINY = ["--data", "digits", "--hidden", "4", "--devices", "1"]


def start(*argv: str, cwd: Path) -> subprocess.Popen[str]:
    """A process in a session of its own, as a terminal starts it."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, *argv],
        cwd=cwd,
        env=environment,
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def failing(error: BaseException) -> Callable[[], None]:
    """A job that raises this."""

    def job() -> None:
        raise error

    return job


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def catches(number: signal.Signals, process: subprocess.Popen) -> bool:
    """Whether a process has a handler of its own for a signal, or has ended."""
    mask = re.search(r"^SigCgt:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    return process.poll() is not None or (mask is not None and bool(int(mask[1], 16) >> (number - 1) & 1))


def others_in_session(leader: int) -> list[int]:
    """The processes of a session, but its leader and those that have ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end meanwhile
            state, _, _, session, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(session) == leader != int(folder.name) and state != "Z":
                found.append(int(folder.name))
    return found


def check_end(process: subprocess.Popen, number: signal.Signals, line: str) -> None:
    """Hold the end of a process to a status and one line, and to no process left."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, (out, err)
    assert "Traceback" not in err
    assert re.fullmatch(line, err.splitlines()[-1]), err
    assert err.count("stopped by") == 1
    wait_until(lambda: not others_in_session(process.pid))


@pytest.mark.parametrize("name", [*NAMES, pytest.param("torch_ref", marks=needs_torch)])
def test_a_signal_during_the_imports_is_one_line(name, tmp_path):
    number = ending.STOPPING[list(COMMANDS).index(name) % 3]
    process = start(*COMMANDS[name], cwd=tmp_path)
    wait_until(lambda: catches(ending.STOPPING[-1], process))
    process.send_signal(number)
    check_end(process, number, f"stopped by {number.name}; nothing was (written|saved)")
    assert not list(tmp_path.iterdir())


def test_a_signal_at_work_is_one_line(tmp_path):
    argv = [*COMMANDS["train_ae"], *TINY, "--seeds", "2", "--epochs", "9999", "--run-dir", "runs/new"]
    process = start(*argv, cwd=tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Epoch: 001")
    process.send_signal(signal.SIGHUP)
    check_end(process, signal.SIGHUP, "stopped by SIGHUP; nothing was written")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["benchmark", pytest.param("check_parity", marks=needs_torch)])
def test_workers_end_with_their_parent(name, tmp_path):
    """Ctrl-C goes to all processes of a terminal, and comes while the workers begin, too."""
    flags = {"benchmark": ["--contenders", "jax_step"], "check_parity": ["--workers", "2", "--rungs", "layers"]}[name]
    process = start(*COMMANDS[name], *flags, "--json", "new.json", cwd=tmp_path)
    wait_until(lambda: len(others_in_session(process.pid)) > 1 or process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)
    check_end(process, signal.SIGINT, "stopped by SIGINT; nothing was written")
    assert not list(tmp_path.iterdir())


def test_a_second_signal_ends_at_once(tmp_path):
    code = """
import time
from jaxae import ending

def work():
    try:
        print("at work", flush=True)
        time.sleep(60)
    finally:
        print("putting away", flush=True)
        time.sleep(60)

ending.watch()
ending.carry_out(work)
"""
    process = start("-c", code, cwd=tmp_path)
    assert process.stdout is not None
    for line in ("at work\n", "putting away\n"):
        assert process.stdout.readline() == line
        process.send_signal(signal.SIGINT)
    check_end(process, signal.SIGINT, "stopped by SIGINT; nothing was written")


def test_a_signal_while_python_is_taken_down_changes_nothing(tmp_path):
    code = """
import atexit, signal
from jaxae import ending

atexit.register(signal.raise_signal, signal.SIGTERM)
ending.watch()
ending.carry_out(lambda: print("done"))
"""
    process = start("-c", code, cwd=tmp_path)
    assert process.communicate(timeout=60) == ("done\n", "")
    assert process.returncode == 0


@pytest.fixture
def handlers() -> Iterator[None]:
    """The handlers of signals as they were, after the test."""
    before = {number: signal.getsignal(number) for number in ending.STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_that_is_ignored_stays_so(handlers, monkeypatch):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.setattr(atexit, "register", lambda *_: None)
    ending.watch()
    with stop_signals() as stop:
        signal.raise_signal(signal.SIGHUP)
        assert stop() is None
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert ending.watched() == [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", ending.STOPPING)
def test_a_training_notes_one_signal_and_is_ended_by_another(number, capsys):
    def job() -> None:
        with stop_signals() as stop:
            signal.raise_signal(number)
            assert stop() == number
            print("noted", flush=True)
            signal.raise_signal(number)

    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended:
        ending.carry_out(job)
    assert ended.value.code == 128 + number
    assert capsys.readouterr() == ("noted\n", f"stopped by {number.name}; nothing was written\n")
    assert signal.getsignal(number) == before


def test_what_is_kept_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def job() -> None:
        check_writable(Path("a.json"), Path("b.json"))
        write_text(Path("cache"), "nobody asked for it")
        write_text(Path("a.json"), "{}")
        ending.keep("runs/x, which --resume continues")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    with pytest.raises(SystemExit) as ended:
        ending.carry_out(job)
    assert ended.value.code == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "stopped by SIGTERM; kept: a.json, runs/x, which --resume continues\n"


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("expected a,\n got b"), 2, "error: expected a, got b\n"),
        (InputError("x" * 9000), 2, f"error: {'x' * 489}...\n"),
        (DivergenceError("step 3"), 1, "error: step 3\n"),
        (StoppedError("stopped by SIGTERM after step 3", 15), 143, "stopped by SIGTERM after step 3\n"),
        (KeyboardInterrupt(), 130, "stopped by SIGINT; nothing was written\n"),
        (BrokenPipeError(), 141, ""),
        (OSError(errno.ENOSPC, "No space"), 2, "error: expected room for what is written, .*No space\n"),
        (SystemExit(1), 1, ""),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, BaseException) else "",
)
def test_each_end_has_its_line_and_status(error, status, line, capsys):
    with pytest.raises(SystemExit) as ended:
        ending.carry_out(failing(error))
    assert ended.value.code == status
    assert re.fullmatch(line.replace("...", r"\.\.\."), capsys.readouterr().err)


def test_a_bug_keeps_its_traceback_but_not_one_that_a_signal_made():
    def job() -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            number_of_it.append(number)
        raise ZeroDivisionError

    number_of_it: list[int] = []
    with pytest.raises(ZeroDivisionError):
        ending.carry_out(lambda: 1 // 0)
    number = signal.SIGTERM
    with pytest.raises(SystemExit) as ended:
        ending.carry_out(job)
    assert ended.value.code == 128 + signal.SIGTERM
    assert number_of_it == [number]


def test_a_signal_that_comes_in_a_garbage_collection_is_not_lost(capsys):
    def interrupt(phase: str, info: dict) -> None:
        gc.callbacks.remove(interrupt)
        signal.raise_signal(signal.SIGTERM)

    def job() -> None:
        gc.callbacks.append(interrupt)
        gc.collect()
        time.sleep(60)

    with pytest.raises(SystemExit) as ended:
        ending.carry_out(job)
    assert ended.value.code == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "stopped by SIGTERM; nothing was written\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_processes_are_started_waits_until_they_are(number, capsys):
    def job() -> None:
        with ending.deaf_to_interrupts():
            signal.raise_signal(number)
            print("started")
        print("not reached")

    with pytest.raises(SystemExit) as ended:
        ending.carry_out(job)
    assert ended.value.code == 128 + number
    assert capsys.readouterr() == ("started\n", f"stopped by {number.name}; nothing was written\n")


def test_a_job_that_ends_itself_after_a_signal_has_its_own_status(capsys):
    def job() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        sys.exit(7)

    with pytest.raises(SystemExit) as ended:
        ending.carry_out(job)
    assert ended.value.code == 7
    assert capsys.readouterr() == ("", "")


def closed_pipe() -> TextIO:
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


@pytest.mark.parametrize("package", ["jaxae", "torch_ref"])
def test_a_signal_ends_a_process_whose_standard_error_is_closed(package, tmp_path):
    code = f"""
import contextlib, os, signal
from {package} import ending

ending.watch()
os.close(2)
with contextlib.suppress(OSError):
    signal.raise_signal(signal.SIGTERM)
print("goes on")
"""
    process = start("-c", code, cwd=tmp_path)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 128 + signal.SIGTERM


def test_an_error_that_nobody_reads_has_its_status(monkeypatch):
    with closed_pipe() as nobody, monkeypatch.context() as patch:
        patch.setattr("sys.stderr", nobody)
        with pytest.raises(SystemExit) as ended:
            ending.carry_out(failing(InputError("expected a, got b")))
    assert ended.value.code == 2
    with closed_pipe() as nobody, monkeypatch.context() as patch:
        patch.setattr("sys.stderr", nobody)
        assert torch_ref.ending.carry_out(failing(torch_ref.errors.InputError("expected a, got b"))) == 2


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (SystemExit(0), 0, ""),
        (torch_ref.errors.InputError("expected a,\n got b"), 2, "error: expected a, got b\n"),
        (KeyboardInterrupt(), 130, "stopped by SIGINT; nothing was saved\n"),
        (BrokenPipeError(), 141, ""),
        (OSError(errno.ENOSPC, "No space"), 2, "error: cannot write the log: No space\n"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, BaseException) else "",
)
def test_each_end_of_torch_ref_has_its_line_and_status(error, status, line, capsys):
    assert torch_ref.ending.carry_out(failing(error)) == status
    assert capsys.readouterr() == ("", line)


def test_torch_ref_tells_what_it_saved_before_a_signal(handlers, monkeypatch, capsys):
    def job() -> None:
        torch_ref.ending.note_saved("a.pt")
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(atexit, "register", lambda *_: None)
    torch_ref.ending.watch()
    assert torch_ref.ending.carry_out(job) == 128 + signal.SIGTERM
    assert capsys.readouterr() == ("", "stopped by SIGTERM; saved: a.pt\n")


@pytest.mark.parametrize("name", NAMES)
def test_help_that_nobody_reads_or_that_has_no_room(name, monkeypatch, capsys):
    main = main_of(name)
    monkeypatch.setattr("sys.argv", [f"{name}.py", "--help"])
    room = "error: expected room for what is written, on the disk or on standard output, got "
    for output, status, line in (
        (closed_pipe(), 141, ""),
        (os.fdopen(os.open("/dev/full", os.O_WRONLY), "w"), 2, room),
    ):
        with output, monkeypatch.context() as patch:
            patch.setattr("sys.stdout", output)
            with pytest.raises(SystemExit) as ended:
                run(main)
        assert ended.value.code == status
        err = capsys.readouterr().err
        assert err.startswith(line)
        assert err.count("\n") == bool(line)


@pytest.mark.parametrize(
    ("name", "argv", "shell", "status"),
    [
        ("port_weights", (str(AUTOENCODER), "--inspect"), '"$@" | true; exit ${PIPESTATUS[0]}', 141),
        pytest.param("torch_ref", ("--hidden", "4"), '"$@" > /dev/full', 2, marks=needs_torch),
    ],
)
def test_scripts_outlive_their_output(name, argv, shell, status, tmp_path):
    """As a shell has it, to the interpreter's own end."""
    command = ["bash", "-c", shell, "_", sys.executable, *COMMANDS[name], *argv]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert done.returncode == status, done
    assert done.stderr.count("\n") == (status == 2), done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_job_that_ends_by_itself_after_a_signal_keeps_its_status():
    def job() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        sys.exit(3)

    with pytest.raises(SystemExit) as ended:
        ending.carry_out(job)
    assert ended.value.code == 3
