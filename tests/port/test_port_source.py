"""What people have their weights in, read into one value."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flax import nnx
from safetensors.numpy import save_file

from jaxae import port
from jaxae.config import AUTOENCODER
from jaxae.errors import InputError
from jaxae.port.project_models import recognise
from jaxae.port.source import read_checkpoint, read_source, read_torch_layout
from jaxae.storage import safetensors


def test_a_torch_module():
    theirs = torch.nn.Linear(3, 2)
    source = read_source(theirs)
    assert source.module is theirs
    assert (source.layout, source.content, source.beside) == ("torch", None, [])
    assert list(source.tensors) == ["weight", "bias"]
    assert source.dtypes == ["float32"]


@pytest.mark.parametrize("as_file", [False, True])
def test_checkpoints_and_state_dicts(tmp_path, as_file):
    theirs = torch.nn.BatchNorm1d(3).double()
    state = theirs.state_dict()

    def read(content: Any) -> Any:
        torch.save(content, tmp_path / "x.pt")
        return read_source(tmp_path / "x.pt" if as_file else content)

    for content, beside in ((state, []), ({"epoch": 3, "net": state, 7: "x"}, ["epoch", "7"])):
        source = read(content)
        assert source.module is None
        assert source.layout == "torch"
        assert list(source.tensors) == list(state)
        assert source.beside == beside
        assert source.content is not None
        assert list(source.content) == list(content)
        assert source.dtypes == ["float64", "int64"]
        assert source.origin == (str(tmp_path / "x.pt") if as_file else "the mapping")


@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.parametrize(
    "beside", [torch.tensor(0.3), torch.get_rng_state(), [torch.ones(2)], {"a": torch.ones(2), "b": 3}]
)
def test_tensors_beside_the_weights_are_not_the_weights(tmp_path, beside, as_file):
    state = torch.nn.Linear(3, 2).state_dict()
    content: Any = {"epoch": 3, "model_state_dict": state, "more": beside}
    torch.save(content, tmp_path / "x.pt")
    source = read_source(tmp_path / "x.pt" if as_file else content)
    assert list(source.tensors) == ["weight", "bias"]
    assert source.beside == ["epoch", "more"]
    port.from_torch(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), source)


@pytest.mark.parametrize("value", [3, 0.5, "x", None, [1], {"a": 1}], ids=repr)
def test_what_is_no_tensor_among_the_weights_is_named(tmp_path, value):
    state = torch.nn.Linear(3, 2).state_dict()
    for content in ({**state, "bias": value}, {"model": {**state, "bias": value}}, {**state, "epoch": value}):
        torch.save(content, tmp_path / "x.pt")
        with pytest.raises(InputError, match=r"^expected weights that port to Flax, got: [^\n]*'(bias|epoch)'"):
            port.from_torch(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), tmp_path / "x.pt")
        with pytest.raises(InputError, match=r"^expected tensors alone among the weights, got '(bias|epoch)' of "):
            recognise(read_source(tmp_path / "x.pt"))


def test_a_run_directory_says_its_settings(tmp_path):
    config = json.dumps(AUTOENCODER.to_json())
    (tmp_path / "config.json").write_text(config)
    safetensors.write(tmp_path / "weights.safetensors", {"kernel": np.zeros(2, np.float32)}, {})
    source = read_source(str(tmp_path))
    assert (source.layout, source.metadata) == ("flax", {"config": config})


@pytest.mark.parametrize(
    ("metadata", "names", "layout"),
    [
        ({"layout": "flax"}, ["weight"], "flax"),
        ({"layout": "torch"}, ["kernel"], "torch"),
        ({"format": "pt"}, ["x"], "torch"),
        ({"format": "flax"}, ["x"], "flax"),
        ({"format": "np"}, ["a.kernel", "a.bias"], "flax"),
        ({}, ["a.weight", "a.bias"], "torch"),
        ({}, ["a.bias"], None),
        ({}, ["a.weight", "b.kernel"], None),
    ],
)
def test_layouts_of_safetensors(tmp_path, metadata, names, layout):
    path = tmp_path / "x.safetensors"
    safetensors.write(path, {name: np.zeros(2, np.float32) for name in names}, metadata)
    if layout is None:
        with pytest.raises(InputError, match="tell torch's layout from Flax's, got"):
            read_source(path)
    else:
        assert read_source(path).layout == layout


def test_a_source_is_a_source(tmp_path):
    path = tmp_path / "x.safetensors"
    ours = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    port.save(path, ours, layout="torch")
    source = read_source(path)
    assert read_source(source) is source
    path.unlink()  # what was read is used, and not the file again
    again = nnx.eval_shape(lambda: nnx.Linear(3, 2, rngs=nnx.Rngs(0)))
    for fill in (port.from_torch, port.load):
        fill(again, source)
        assert np.array_equal(again.kernel[...], ours.kernel[...])
    assert len(port.describe(again, source).rows) == 2


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (3, "expected a torch module, a state_dict, Linen variables or a file's path, got int"),
        ("none.onnx", "ends in .pt, .pth"),
        ({"epoch": 3}, "expected a state_dict or a checkpoint that holds one"),
    ],
)
def test_anything_else_is_refused(given, why):
    with pytest.raises(InputError, match=why):
        read_source(given)


def test_torch_layout_is_asked_for(tmp_path):
    path = tmp_path / "x.safetensors"
    port.save(path, nnx.Linear(3, 2, rngs=nnx.Rngs(0)))
    with pytest.raises(InputError, match=f"got Flax's layout in {path}"):
        read_torch_layout(path)
    with pytest.raises(InputError, match="expected a torch file"):
        read_checkpoint(path)
    torch.save([1], tmp_path / "x.pt")
    with pytest.raises(InputError, match="to hold a state_dict, got list"):
        read_checkpoint(Path(tmp_path / "x.pt"))


class Two(nnx.Module):
    def __init__(self):
        self.fc1, self.fc2 = (nnx.Linear(3, 3, rngs=nnx.Rngs(seed)) for seed in (0, 1))


@pytest.mark.parametrize("prefix", ["model", "vae.net", "student"])
def test_a_prefix_that_all_names_have_is_left_out(prefix):
    theirs: Any = torch.nn.ModuleDict({"fc1": torch.nn.Linear(3, 3), "fc2": torch.nn.Linear(3, 3)})
    state = {f"{prefix}.{name}": value for name, value in theirs.state_dict().items()}
    ours = Two()
    report = port.from_torch(ours, state)
    assert f"torch's names are those below {prefix!r}" in report.notes
    assert set(port.to_torch(ours, like=state)) == set(state)
    named = Two()
    port.from_torch(named, state, names={"": prefix})
    for module in (ours, named):
        np.testing.assert_array_equal(module.fc2.kernel[...], theirs["fc2"].weight.detach().numpy().T)


def test_numbers_and_names_of_ones_own_are_no_prefix():
    one = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(3, 3))
    port.from_torch(nnx.Sequential(nnx.relu, nnx.Linear(3, 3, rngs=nnx.Rngs(0))), one.state_dict())
    with pytest.raises(InputError, match="names="):
        port.from_torch(
            Two(), {"fc1.weight": torch.zeros(3, 3), "fc1.bias": torch.zeros(3)} | {"x.weight": torch.zeros(3, 3)}
        )


def test_weights_of_another_layout_are_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file({"fc.weight": np.zeros((2, 2), np.float32)}, path, metadata={"format": "mlx"})
    with pytest.raises(InputError, match=r"got .*net\.safetensors of mlx"):
        port.from_torch(Two(), path)
