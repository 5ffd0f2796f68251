"""The process and its devices: what is asked for and is not there."""

import jax
import pytest

from jaxae.errors import InputError
from jaxae.training import runtime


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("devices", [0, 1.5, "2", 1025])
@pytest.mark.parametrize("set_up", [runtime.make_mesh, runtime.configure])
def test_a_number_of_devices_that_is_none_is_refused(set_up, devices):
    more = {"dtype": "float32"} if set_up is runtime.configure else {}
    with pytest.raises(InputError, match=r"expected devices (from 1 to 1024|to be a whole number), got"):
        set_up(batch_size=8, devices=devices, **more)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "tpu"}, "expected a device of auto, cpu or gpu, got 'tpu'"),
        ({"devices": 0}, "expected devices from 1 to 1024, got 0"),
    ],
)
def test_devices_that_cannot_be_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        runtime.configure(batch_size=8, dtype="float32", **settings)


def test_more_devices_than_there_are_and_others_are_refused():
    with pytest.raises(InputError, match="expected 99 cpu devices, got 4 present"):
        runtime.make_mesh(devices=99)
    with pytest.raises(
        InputError, match=r"expected a gpu that JAX can use, got only: cpu; pip install 'jaxae\[cuda\]'"
    ):
        runtime.make_mesh(device="gpu")


def test_a_process_that_has_used_jax_already_keeps_its_devices(monkeypatch):
    monkeypatch.setattr(runtime, "keep_compiled_programs", lambda: None)
    assert len(jax.devices()) == 4
    assert runtime.configure(devices=1, batch_size=8, dtype="float32").size == 1
    assert len(jax.devices()) == 4


def test_a_cache_that_cannot_be_written_is_told_of(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "file"))
    before = jax.config.values["jax_compilation_cache_dir"]
    with pytest.warns(UserWarning, match="compiled programs are not kept: .*file"):
        runtime.keep_compiled_programs()
    assert jax.config.values["jax_compilation_cache_dir"] == before
