"""Ports from file to file, and the script that makes them."""

import importlib.util
import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from flax import nnx

from jaxae import port
from jaxae.config import AutoencoderConfig, ConditionalVAEConfig, ConvVAEConfig, DenseVAEConfig
from jaxae.errors import InputError
from jaxae.network.models import build
from jaxae.port import file_to_file, torch_file
from jaxae.port.file_to_file import make_module, port_file
from jaxae.port.project_models import recognise, settings_of
from jaxae.port.source import read_source
from jaxae.port.verify import verify
from torch_ref.models import Autoencoder as TorchAutoencoder
from torch_ref.models import ConditionalVariationalAutoencoder


class Whole:
    """An object of a class that no reader knows."""


SCRIPT = REPOSITORY / "scripts" / "port_weights.py"


@pytest.fixture
def script() -> Any:
    spec = importlib.util.spec_from_file_location("port_weights", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def autoencoder(tmp_path: Path) -> Path:
    """A torch file of an autoencoder of 20 features with a code of 4."""
    path = tmp_path / "a.pt"
    torch.save(TorchAutoencoder(20, 4).state_dict(), path)
    return path


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of a user's with factories, on the path."""
    (tmp_path / "mine_of_a_user.py").write_text(
        "from flax import nnx\n"
        "def linear():\n"
        "    return nnx.Linear(3, 2, rngs=nnx.Rngs(0))\n"
        "def two():\n"
        "    return nnx.Sequential(*(nnx.Linear(2, 2, use_bias=False, rngs=nnx.Rngs(0)) for _ in range(2)))\n"
        "def make_torch():\n"
        "    import torch\n"
        "    conv = torch.nn.Conv2d(1, 2, 3, padding=1)\n"
        "    return torch.nn.Sequential(conv, torch.nn.Flatten(), torch.nn.Linear(12, 3))\n"
        "def number():\n"
        "    return 3\n"
        "def make():\n"
        "    return nnx.Sequential(nnx.Conv(1, 2, (3, 3), rngs=nnx.Rngs(0)),\n"
        "                          lambda x: x.reshape(len(x), -1),\n"
        "                          nnx.Linear(2 * 6, 3, rngs=nnx.Rngs(0)))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return "mine_of_a_user"


def test_script_ports_there_and_back(tmp_path, script, capsys):
    theirs = ConditionalVariationalAutoencoder(784, 5, 10)
    source, flax, back = (tmp_path / name for name in ("a.pt", "b.safetensors", "c.pt"))
    torch.save({"model_state_dict": theirs.state_dict(), "epoch": 3}, source)
    script(source, flax, verify=True)
    told = capsys.readouterr()
    assert told.out.startswith("largest difference")
    assert float(told.out.split()[2]) < 2e-6  # measured 6e-8
    assert told.err == "only weights are written, not epoch\n"
    script(flax, back)
    again = torch.load(back)
    assert all(torch.equal(again[name], one) for name, one in theirs.state_dict().items())


def test_a_port_to_the_same_layout_and_in_float64(tmp_path, script, capsys):
    torch.save(TorchAutoencoder(20, 4).double().state_dict(), tmp_path / "a.pt")
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['port_weights.py', 'a.pt', 'b.safetensors', '--to', 'torch', '--verify']\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.startswith("largest difference 0.00e+00")
    assert "(torch float64, torch float64)" in done.stdout
    kept = torch.load(tmp_path / "a.pt")
    arrays = read_source(tmp_path / "b.safetensors").tensors
    assert list(arrays) == list(kept)
    assert all(np.array_equal(arrays[name], one.numpy()) for name, one in kept.items())


def test_the_source_is_read_once(tmp_path, script, autoencoder, monkeypatch):
    read: list[Path] = []
    whole = torch_file.read

    def counted(path: Path, *rest: Any) -> Any:
        read.append(path)
        return whole(path, *rest)

    monkeypatch.setattr(torch_file, "read", counted)
    script(autoencoder, tmp_path / "b.safetensors", verify=True)
    assert read == [autoencoder]


def test_a_verification_that_fails_writes_nothing(tmp_path, script, autoencoder, monkeypatch):
    load = file_to_file.load

    def spoiled(net: Any, *rest: Any) -> Any:
        report = load(net, *rest)
        net.linear_2.bias[...] += 0.1
        return report

    monkeypatch.setattr(file_to_file, "load", spoiled)
    with pytest.raises(InputError, match="expected networks that agree"):
        script(autoencoder, tmp_path / "b.safetensors", verify=True)
    assert [one.name for one in tmp_path.iterdir()] == ["a.pt"]
    before = b"what was there before"
    (tmp_path / "b.safetensors").write_bytes(before)
    with pytest.raises(InputError, match="expected networks that agree"):
        script(autoencoder, tmp_path / "b.safetensors", verify=True)
    assert (tmp_path / "b.safetensors").read_bytes() == before
    script(autoencoder, tmp_path / "b.safetensors")  # unverified, it is written
    assert (tmp_path / "b.safetensors").read_bytes() != before


def test_a_verified_file_that_cannot_be_renamed_is_refused(tmp_path, script, autoencoder, monkeypatch):
    """The disk may fill between the check and the end."""

    rename = Path.replace

    def full(path: Path, target: Path) -> Path:
        if target.name == "b.safetensors":
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match=r"that can be written, got .*b\.safetensors: No space left"):
        script(autoencoder, tmp_path / "b.safetensors", verify=True)
    assert [one.name for one in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize(
    "config",
    [
        AutoencoderConfig(20, (9, 4), "tanh"),
        ConditionalVAEConfig(3, 0),
        ConditionalVAEConfig(2, 4),
        DenseVAEConfig(3, 4, hidden=(8, 6)),
        ConvVAEConfig(3, 2, height=9, width=13, channels=2, widths=(4, 5)),
    ],
)
def test_every_model_can_be_verified(tmp_path, config):
    model = build(config, rngs=nnx.Rngs(0))
    for layout in ("torch", "flax"):
        port.save(tmp_path / f"{layout}.safetensors", model, layout=layout)
    one, two = (read_source(tmp_path / f"{name}.safetensors") for name in ("torch", "flax"))
    result = verify(config, one, two)
    assert result.kinds == ("torch float32", "flax float32")
    assert 0 <= result.difference <= 1e-6 * result.largest
    first = next(name for name in two.tensors if name.endswith("kernel"))
    other = replace(two, tensors={**two.tensors, first: np.asarray(two.tensors[first]) + np.float32(0.01)})
    with pytest.raises(InputError, match="expected networks that agree"):
        verify(config, one, other)


@pytest.mark.parametrize(
    ("config", "tensor"),
    [
        (ConvVAEConfig(3, height=9, width=13, widths=(4, 5), likelihood="gaussian"), "dec_log_scale"),
        (DenseVAEConfig(3, hidden=(6,), likelihood="discretized-logistic", scale="per-pixel"), "dec_linear_2.bias"),
    ],
)
def test_scales_of_pixels_port_both_ways_and_are_verified(tmp_path, config, tensor):
    model: Any = build(config, rngs=nnx.Rngs(0))
    again = build(config, rngs=nnx.Rngs(1))
    if config.learns_scale:
        model.dec_log_scale.set_value(np.full(1, 0.7, np.float32))
    flax, path = tmp_path / "a.safetensors", tmp_path / "b.pt"
    port.save(flax, model, model=settings_of(config))
    source = read_source(flax)
    _, found = port_file(source, path, again, model=config, verified=True)
    assert found is not None
    assert found.difference <= 1e-6 * found.largest
    back = read_source(path)
    assert recognise(back) == config
    port_file(back, tmp_path / "c.safetensors", build(config, rngs=nnx.Rngs(2)), model=config, verified=True)
    kept = read_source(tmp_path / "c.safetensors").tensors
    assert all(np.array_equal(kept[name], value) for name, value in source.tensors.items())
    # A tensor's last number is of the last pixel's scale, or all there is of it.
    changed = np.array(source.tensors[tensor])
    changed[-1] += 0.01
    with pytest.raises(InputError, match="expected networks that agree"):
        verify(config, replace(source, tensors={**source.tensors, tensor: changed}), back)


def test_script_inspects_a_users_module_and_writes_nothing(tmp_path, script, capsys, factory):
    source = tmp_path / "a.pt"
    theirs = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(12, 3))
    torch.save(theirs.state_dict(), source)
    make = f"{factory}:make"
    with pytest.raises(InputError, match=r"'layers\.2' takes 12 features"):
        script(source, inspect=True, model=make)
    script(source, inspect=True, model=make, flatten=("layers.2=2,2,3",))
    assert "layers.2.kernel" in capsys.readouterr().out
    names = {one.name for one in tmp_path.iterdir()} - {"__pycache__"}
    assert names == {"a.pt", "mine_of_a_user.py"}
    for wrong in (factory, f"{factory}:no", "no_such:make", ":"):
        with pytest.raises(InputError, match=r"package\.module:factory"):
            script(source, inspect=True, model=wrong)


def test_script_takes_what_the_library_takes(tmp_path, script, capsys, factory):
    conv, linear = torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.Linear(12, 3)
    theirs = torch.nn.Sequential(conv, torch.nn.Flatten(), linear)
    state = {f"student.{name}": one for name, one in theirs.state_dict().items()} | {"student.pe": torch.ones(2)}
    content = {"model": {}, "ema": state | {"teacher.x": torch.ones(2)}, "more": Whole()}
    content["model"] = {name: one + 1 for name, one in content["ema"].items()}
    torch.save(content, tmp_path / "a.pt")
    make = f"{factory}:make"
    which: Any = {"weights": "ema", "prefix": "student", "allow": (Whole.__module__,), "ignore": ("pe",)}
    script(
        tmp_path / "a.pt", tmp_path / "b.safetensors", model=make, **which, flatten=("layers.2=2,2,3",), dtype="float16"
    )
    told = capsys.readouterr().err.splitlines()
    assert "'pe' is ignored, as asked" in told
    assert "left aside, for their names do not begin with 'student.': 'teacher' (1)" in told
    assert "only weights are written, not model, more" in told
    arrays = read_source(tmp_path / "b.safetensors").tensors
    assert {str(one.dtype) for one in arrays.values()} == {"float16"}
    shuffled = linear.weight.detach().reshape(3, 2, 2, 3).permute(0, 2, 3, 1).reshape(3, 12).numpy()
    assert np.array_equal(arrays["layers.2.kernel"], shuffled.T.astype(np.float16))
    # The same order said by a file, and found by running both.
    np.save(tmp_path / "order.npy", np.arange(12).reshape(2, 2, 3).transpose(1, 2, 0).ravel())
    order = (f"layers.2={tmp_path / 'order.npy'}",)
    script(tmp_path / "a.pt", tmp_path / "c.safetensors", model=make, **which, flatten=order, dtype="float16")
    assert (tmp_path / "c.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    run: Any = {"inputs": ("2x1x2x3",), "torch_model": f"{factory}:make_torch"}
    with pytest.raises(InputError, match="expected both --inputs and --torch-model, or neither, got one"):
        script(tmp_path / "a.pt", tmp_path / "d.safetensors", model=make, inputs=run["inputs"])
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "plain.pt")
    script(tmp_path / "plain.pt", tmp_path / "d.safetensors", model=make, dtype="float16", **run)
    assert capsys.readouterr().out.startswith("proven at ")
    assert (tmp_path / "d.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    script(tmp_path / "plain.pt", inspect=True, model=make, **run)
    assert "proven at" in capsys.readouterr().out
    # And back: names, orders and buffers as a file of torch's has them.
    torch.save(theirs.state_dict() | {"pe": torch.ones(2)}, tmp_path / "like.pt")
    back: Any = {"like": tmp_path / "like.pt", "ignore": ("pe",)}
    script(tmp_path / "d.safetensors", tmp_path / "e.pt", model=make, **run, **back)
    again = torch.load(tmp_path / "e.pt")
    assert list(again) == [*theirs.state_dict(), "pe"]
    assert torch.equal(again["2.weight"], linear.weight.detach().half())
    before = (tmp_path / "like.pt").read_bytes()
    with pytest.raises(InputError):
        script(tmp_path / "d.safetensors", tmp_path / "like.pt", model=make, **run, **back)
    assert (tmp_path / "like.pt").read_bytes() == before


def test_a_new_head_and_ties_in_the_script(tmp_path, script, capsys, factory):
    conv = torch.nn.Conv2d(1, 2, 3, padding=1)
    torch.save({f"0.{name}": one for name, one in conv.state_dict().items()}, tmp_path / "a.pt")
    script(tmp_path / "a.pt", tmp_path / "b.safetensors", model=f"{factory}:make", missing=("layers.2.*",))
    assert "'layers.2.kernel' keeps its value, as asked" in capsys.readouterr().err
    tied = torch.nn.Parameter(torch.ones(2, 2))
    torch.save({"0.weight": tied, "1.weight": tied}, tmp_path / "c.pt")
    with pytest.raises(InputError, match="share the variable, or say untie=True"):
        script(tmp_path / "c.pt", tmp_path / "d.safetensors", model=f"{factory}:two")
    script(tmp_path / "c.pt", tmp_path / "d.safetensors", model=f"{factory}:two", untie=True)
    for wrong in ("2x", "axb", ""):
        with pytest.raises(InputError, match="expected --inputs of shapes like 2x3x32x32, got "):
            script(tmp_path / "c.pt", inspect=True, model=f"{factory}:two", inputs=(wrong,), torch_model="x:y")


def test_an_inspection_that_fails_shows_what_each_tensor_may_be(tmp_path, script, capsys, factory):
    theirs = torch.nn.Linear(3, 2)
    torch.save({"out.weight": theirs.weight, "weird": torch.ones(5), "bias": torch.ones(4)}, tmp_path / "a.pt")
    with pytest.raises(InputError, match="missing 'weight'"):
        script(tmp_path / "a.pt", inspect=True, model=f"{factory}:linear")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "torch shape flax shape candidates"
    assert "weight 2x3 kernel 3x2 missing out.weight" in lines
    assert "bias 4 bias 2 mis-shaped: 2 expected" in lines
    assert "out.weight 2x3 unexpected kernel" in lines
    assert "weird 5 unexpected" in lines


def test_a_factory_must_make_a_module(factory):
    assert isinstance(make_module(f"{factory}:linear"), nnx.Linear)
    with pytest.raises(InputError, match=r"nnx\.Module, got int"):
        make_module(f"{factory}:number")


def test_a_users_module_is_ported_there_and_back(tmp_path, script, factory):
    theirs = torch.nn.Linear(3, 2)
    torch.save(theirs.state_dict(), tmp_path / "a.pt")
    script(tmp_path / "a.pt", tmp_path / "b.safetensors", model=f"{factory}:linear")
    script(tmp_path / "b.safetensors", tmp_path / "c.pt", model=f"{factory}:linear")
    again = torch.load(tmp_path / "c.pt")
    assert all(torch.equal(again[name], one) for name, one in theirs.state_dict().items())


FLAGS = {
    "to": (None, "flax", "torch"),
    "verify": (False, True),
    "model": (None, "mine_of_a_user:linear"),
    "flatten": ((), ("CHW",), ("linear_9=2,2,1",)),
    "names": ((), ("gone=linear_1",)),
}


@pytest.mark.parametrize("source", ["a.pt", "a.safetensors", "own.safetensors"])
@pytest.mark.parametrize("name", ["b.safetensors", "b.pt", "b.onnx", "no/b.pt", "same"])
def test_flags_that_are_refused_are_refused_before_anything_is_written(tmp_path, script, factory, source, name):
    torch.save(TorchAutoencoder(4, 2).state_dict(), tmp_path / "a.pt")
    model = build(AutoencoderConfig(4, (2,)), rngs=nnx.Rngs(0))
    port.save(tmp_path / "a.safetensors", model)
    port.save(tmp_path / "own.safetensors", make_module("mine_of_a_user:linear"))
    path = tmp_path / (source if name == "same" else name)
    before = {one: one.read_bytes() for one in tmp_path.glob("*.*")}
    refused, written = 0, 0
    for values in itertools.product(*FLAGS.values()):
        flags: Any = dict(zip(FLAGS, values, strict=True))
        try:
            script(tmp_path / source, path, **flags)
        except InputError:
            refused += 1
        else:
            written += 1
            path.unlink()
        assert {one: one.read_bytes() for one in tmp_path.glob("*.*")} == before, flags
    assert refused
    assert bool(written) == (name in ("b.safetensors", "b.pt"))


def test_inspect_and_a_file_to_write_exclude_each_other(tmp_path, script, autoencoder):
    for flags in ({}, {"inspect": True, "dst": tmp_path / "b.pt"}, {"inspect": True, "verify": True}):
        with pytest.raises(InputError, match="expected DST to write to, or --inspect alone"):
            script(autoencoder, **flags)


def test_what_has_no_use_is_refused(tmp_path):
    model = build(AutoencoderConfig(4, (2,)), rngs=nnx.Rngs(0))
    port.save(tmp_path / "a.safetensors", model)
    source = read_source(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="expected no names for Flax's layout"):
        port_file(source, tmp_path / "b.safetensors", model, layout="flax", names={"a": "b"})
    with pytest.raises(InputError, match="expected no untie for weights in Flax's layout"):
        port.load(model, source, untie=True)
    with pytest.raises(TypeError, match="flaten"):
        port.from_torch(model, TorchAutoencoder(4, 2), flaten="CHW")  # pyright: ignore


def test_script_leaves_one_line_and_no_partial_output(tmp_path):
    source = tmp_path / "a.pt"
    torch.save(TorchAutoencoder(784).state_dict(), source)
    source.write_bytes(source.read_bytes()[:-1000])
    command = [sys.executable, SCRIPT, source, tmp_path / "b.safetensors"]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert [one.name for one in tmp_path.iterdir()] == ["a.pt"]
