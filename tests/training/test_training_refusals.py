"""What a training refuses or warns of that no run comes by: its folder, its circumstances, its processes."""

import os
import signal
import socket
from io import StringIO
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from jaxae import AUTOENCODER, InputError, load
from jaxae.storage.files import partial_files
from jaxae.training import joining, native_lines, runtime
from jaxae.training.program import program_of
from jaxae.training.run_folder import Circumstances, RunFolder
from jaxae.training.runtime import keep_compiled_programs, make_mesh
from jaxae.training.stop_signals import stop_signals


@pytest.mark.parametrize(
    "coordinator", ["node0", "node0:", "node0:x", "node0:0", "node0:65536", ":1234", "a..b:1234", f"{'x' * 64}:1234"]
)
@pytest.mark.parametrize("process_id", [0, 1])
def test_an_address_that_is_none_is_refused_at_once_in_every_process(coordinator, process_id, monkeypatch):
    monkeypatch.setattr(joining.jax.distributed, "initialize", lambda *_, **__: pytest.fail("it went on"))
    with pytest.raises(InputError, match=r"^expected a coordinator HOST:PORT, got "):
        joining._connect(coordinator, 2, process_id)


def test_a_machine_without_ipv6_may_coordinate(monkeypatch):
    def opened(family: int = socket.AF_INET, *given: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError("Address family not supported by protocol")
        return made(family, *given)

    made = socket.socket
    with made() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(socket, "socket", opened)
    joining._check_free(f"localhost:{port}")


def test_what_the_environment_of_a_cluster_lacks_is_told_in_one_line(monkeypatch):
    def initialize(*_: Any, **__: Any) -> None:
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(joining.jax.distributed, "initialize", initialize)
    with pytest.raises(InputError, match=r"^expected to join the other processes, got .*should be defined"):
        joining._connect(None, None, None)


def test_processes_that_do_not_come_are_waited_for_a_while(monkeypatch):
    come = Event()
    monkeypatch.setattr(joining, "_WAIT", 0.1)
    monkeypatch.setattr(joining.jax.distributed, "initialize", lambda *_, **__: come.wait(10))
    monkeypatch.setattr(joining, "_check_free", lambda coordinator: None)
    with pytest.raises(InputError, match=r"^expected 3 processes at node0:1234 within 0.1 s, got some that did not"):
        joining._connect("node0:1234", 3, 0)
    come.set()


def test_a_process_that_does_not_find_the_others_gives_its_streams_back(monkeypatch):
    restored: list[bool] = []
    monkeypatch.setattr(joining.native_lines, "redirect", lambda: lambda: restored.append(True))
    monkeypatch.setattr(joining, "_connect", lambda *_: (_ for _ in ()).throw(InputError("expected others, got none")))
    monkeypatch.setattr(joining, "_abandon", lambda: restored.append(False))
    with pytest.raises(InputError, match="expected others"), joining.joined("node0:1234", 2, 0):
        pytest.fail("it went on")
    assert restored == [True, False]


@pytest.mark.usefixtures("unchecked")
def test_a_stream_of_no_descriptor_stays_where_native_code_is_redirected():
    stream = StringIO()
    assert native_lines._copy_of(stream) is stream


def test_a_second_sigterm_ends_a_process_that_python_leaves_to_the_system():
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with stop_signals() as stop:
            signal.raise_signal(signal.SIGTERM)
            assert stop() == signal.SIGTERM
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_device_more_than_each_process_has_is_refused(monkeypatch):
    devices = [SimpleNamespace(platform="cpu", process_index=index) for index in (0, 0, 1)]
    monkeypatch.setattr(runtime.jax, "devices", lambda *_: devices)
    monkeypatch.setattr(runtime, "process_count", lambda: 2)
    with pytest.raises(InputError, match=r"^expected 2 cpu devices in each process, got 1 present$"):
        make_mesh(devices=2)


def test_a_cache_folder_of_another_user_is_told_of(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.warns(UserWarning, match=r"^compiled programs are not kept: .* cannot be written to$"):
        keep_compiled_programs()


def test_leftovers_that_cannot_be_deleted_are_told_in_one_line(tmp_path, monkeypatch):
    (tmp_path / ".config.abcdefgh.json").touch()
    assert partial_files(tmp_path / "config.json")
    monkeypatch.setattr("pathlib.Path.unlink", lambda *_: (_ for _ in ()).throw(OSError(30, "Read-only file system")))
    expected = rf"^expected a run directory that can be written, got {tmp_path}: Read-only file system$"
    with pytest.raises(InputError, match=expected), RunFolder.open(tmp_path, AUTOENCODER):
        pytest.fail("it went on")


def test_a_run_that_goes_on_elsewhere_is_warned_of_what_is_other():
    here = Circumstances(load("digits"), program_of(AUTOENCODER, make_mesh(devices=1)))
    kept = here.to_json()
    here.check(kept, folder=Path("run"))
    kept["environment"] = kept["environment"] | {"jax": "0.0.1"}
    with pytest.warns(UserWarning, match=r"^resuming with jax .*, not 0\.0\.1: results may differ in the last bits$"):
        here.check(kept, folder=Path("run"))
