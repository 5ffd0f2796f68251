"""Training checkpoints as people save them: what is beside the weights is data, and no code is run."""

import argparse
import collections
import datetime
import enum
import pathlib
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flax import nnx

from jaxae import port
from jaxae.errors import InputError
from jaxae.port import torch_file
from jaxae.port.arrays import tie_key, why_refused
from jaxae.port.source import read_source


class Kind(enum.Enum):
    """A class that a reader cannot know."""

    ONE = 1


class Whole(torch.nn.Module):
    """A module whose parts refer to it, with a buffer that is not to be saved."""

    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(3, 2)
        self.norm = torch.nn.BatchNorm1d(2)
        self.register_buffer("seen", torch.ones(2), persistent=False)
        self.parts = [self]


def linear() -> nnx.Linear:
    return nnx.Linear(3, 2, rngs=nnx.Rngs(0))


def same(ours: nnx.Linear, theirs: torch.nn.Linear) -> bool:
    return np.array_equal(ours.kernel[...], theirs.weight.detach().numpy().T)


HARMLESS = {
    "scalar": np.float64(0.97),
    "array": np.arange(6.0).reshape(2, 3),
    "transposed": np.arange(6).reshape(2, 3).T,
    "big-endian": np.arange(3, dtype=">i4"),
    "texts": np.array(["a", "bc"]),
    "objects": np.array([1, "x"], dtype=object),
    "generator": np.random.default_rng(0),
    "namespace": argparse.Namespace(lr=0.1, path=pathlib.PurePosixPath("x")),
    "path": pathlib.Path("x"),
    "time": datetime.datetime(2020, 1, 1),
    "default": collections.defaultdict(list, {1: [2]}),
    "counter": collections.Counter("aab"),
    "deque": collections.deque([1, 2]),
    "bytes": b"abc",
    "no bytes": b"",
    "complex": 1 + 2j,
    "set": {1, 2},
    "class": torch.nn.ReLU,
    "loss": torch.nn.CrossEntropyLoss(),
    "dtype": torch.bfloat16,
    "size": torch.Size([2, 3]),
}


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_objects_are_read_as_data(tmp_path, name, new):
    theirs = torch.nn.Linear(3, 2)
    content = {"model": theirs.state_dict(), "more": HARMLESS[name], "path": [HARMLESS[name]]}
    torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=new)
    ours = linear()
    port.from_torch(ours, tmp_path / "x.pt")
    assert same(ours, theirs)
    read: Any = torch_file.read(tmp_path / "x.pt")
    value, (again,) = read["more"], read["path"]
    assert type(again) is type(value)
    if name in ("scalar", "array", "transposed", "big-endian", "texts"):
        np.testing.assert_array_equal(value, HARMLESS[name])
        assert value.dtype == np.asarray(HARMLESS[name]).dtype.newbyteorder("=")
    elif name in ("default", "counter", "bytes", "no bytes", "complex", "set", "size"):
        assert value == HARMLESS[name]
    elif name == "namespace":
        assert (repr(value), value.attributes["lr"]) == ("<argparse.Namespace, not made>", 0.1)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_arrays(tmp_path, protocol):
    theirs = {"weight": np.ones((2, 3), np.float32), "bias": np.arange(2, dtype=np.float32)}
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps({"model": theirs, "__author__": "x"}, protocol=protocol))
    ours = linear()
    port.from_torch(ours, path)
    np.testing.assert_array_equal(ours.kernel[...], theirs["weight"].T)
    assert ours.bias is not None
    np.testing.assert_array_equal(ours.bias[...], theirs["bias"])


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickles_of_tensors(tmp_path, protocol):
    theirs = torch.nn.Linear(3, 2).half()
    state = theirs.state_dict()
    content = {"model": state | {"tied": state["weight"]}, "loss": torch.tensor(0.3)}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    read: Any = torch_file.read(tmp_path / "x.pkl")
    assert all(np.array_equal(read["model"][name], one.numpy()) for name, one in content["model"].items())
    assert tie_key(read["model"]["weight"]) == tie_key(read["model"]["tied"])
    assert float(read["loss"]) == float(content["loss"])
    whole = (tmp_path / "x.pkl").read_bytes()
    start = whole.index(state["bias"].numpy().tobytes()) if protocol > 2 else 0
    if start:  # a storage whose bytes are fewer than it says
        (tmp_path / "x.pkl").write_bytes(whole[: start - 8] + b"\x07" + whole[start - 7 :])
        with pytest.raises(InputError, match="it does not hold the 4 bytes of a storage"):
            torch_file.read(tmp_path / "x.pkl")


def test_objects_of_unknown_classes_are_refused_with_the_way_to_leave_them(tmp_path):
    theirs = torch.nn.Linear(3, 2)
    torch.save({"model": theirs.state_dict(), "kind": Kind.ONE, "other": Kind}, tmp_path / "x.pt")
    name = f"{Kind.__module__}.Kind"
    with pytest.raises(InputError, match=rf"\({name}\).*nothing was run; .*'--allow {name}'\) leaves these") as caught:
        read_source(tmp_path / "x.pt")
    assert len(str(caught.value)) < 500
    for allow in (name, Kind.__module__):
        ours = linear()
        port.from_torch(ours, tmp_path / "x.pt", allow=[allow])
        assert same(ours, theirs)
    with pytest.raises(InputError, match="would run code"):
        read_source(tmp_path / "x.pt", allow=[Kind.__module__[:-1]])


def test_objects_that_refer_to_each_other_and_mappings_of_ones_own(tmp_path, monkeypatch):
    """As OmegaConf's settings, whose parts know their parent, and Lightning's hyperparameters are."""
    settings = types.ModuleType("omegaconf.dictconfig")
    source = "class DictConfig: pass\nclass AttributeDict(dict): pass\n"
    exec(compile(source, "settings", "exec"), vars(settings))
    monkeypatch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
    monkeypatch.setitem(sys.modules, "omegaconf.dictconfig", settings)
    for one in (settings.DictConfig, settings.AttributeDict):
        one.__module__ = "omegaconf.dictconfig"
    parent, child = settings.DictConfig(), settings.DictConfig()
    parent.parts, child.parent, child.content = [child], parent, {"rate": 0.1}
    beside = settings.AttributeDict(rate=0.1, parent=parent)
    theirs = torch.nn.Linear(3, 2)
    torch.save({"state_dict": theirs.state_dict(), "hyper_parameters": beside, "config": parent}, tmp_path / "x.ckpt")
    for name in ("omegaconf", "omegaconf.dictconfig"):
        monkeypatch.delitem(sys.modules, name)
    ours = linear()
    port.from_torch(ours, tmp_path / "x.ckpt")
    assert same(ours, theirs)
    read: Any = torch_file.read(tmp_path / "x.ckpt")
    assert read["hyper_parameters"].items["rate"] == 0.1
    (part,) = read["config"].attributes["parts"]
    assert (part.attributes["parent"], part.attributes["content"]) == (read["config"], {"rate": 0.1})


class Command:
    """An object that would run a command if it were made."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_what_is_allowed_is_not_run_either(tmp_path):
    content = {"model": torch.nn.Linear(3, 2).state_dict(), "x": Command(tmp_path / "mark"), "y": print}
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(InputError, match="would run code"):
        read_source(tmp_path / "x.pt")
    source = read_source(tmp_path / "x.pt", allow=["builtins", "pathlib", "__builtin__"])
    assert source.beside == ["x", "y"]
    assert not (tmp_path / "mark").exists()
    pickle.loads(pickle.dumps(content["x"]))  # the control: it would have
    assert (tmp_path / "mark").exists()


def test_a_call_of_a_builtin_is_refused_even_where_it_is_allowed(tmp_path):
    (tmp_path / "x.pkl").write_bytes(b"\x80\x02}X\x01\x00\x00\x00ac__builtin__\neval\nX\x01\x00\x00\x001\x85Rs.")
    with pytest.raises(InputError, match="more than tensors"):
        read_source(tmp_path / "x.pkl", allow=["__builtin__"])


def test_a_module_that_was_saved_whole(tmp_path):
    theirs = Whole()
    expected = theirs.state_dict()
    torch.save(theirs, tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"more than tensors \(.*Whole\)"):
        read_source(tmp_path / "x.pt")
    torch.save({"epoch": 1, "model": theirs}, tmp_path / "y.pt")
    for name in ("x.pt", "y.pt"):
        found = read_source(tmp_path / name, allow=[Whole.__module__]).tensors
        assert list(found) == list(expected)
        assert all(np.array_equal(found[one], value.numpy()) for one, value in expected.items())


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_modules_and_files(tmp_path):
    theirs = torch.jit.script(torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3)))
    ours = nnx.Sequential(
        nnx.Linear(3, 3, rngs=nnx.Rngs(0)), nnx.BatchNorm(3, epsilon=1e-5, momentum=0.9, rngs=nnx.Rngs(0))
    )
    torch.jit.save(theirs, tmp_path / "net.pt")
    found = read_source(tmp_path / "net.pt").tensors
    assert list(found) == list(theirs.state_dict())
    for source in (theirs, theirs.state_dict(), tmp_path / "net.pt"):
        again = nnx.clone(ours)
        port.from_torch(again, source)
        np.testing.assert_array_equal(again.layers[0].kernel[...], theirs.state_dict()["0.weight"].numpy().T)


FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
WHOLE = [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool]
NEW = [torch.uint16, torch.uint32, torch.uint64]


@pytest.mark.parametrize("new", [True, False])
def test_the_bytes_of_every_dtype_and_view_are_torchs(tmp_path, new):
    noise = torch.randint(0, 256, (96,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    weight = torch.arange(24.0).reshape(4, 6)
    content = {str(one): noise.clone().view(one) for one in [*FLOATS, *WHOLE[:-1], *(NEW if new else [])]}
    content |= {"bool": noise % 2 == 1, "weight": weight, "tied": weight, "transposed": weight.T}
    content |= {"part": weight[1:, ::2], "scalar": torch.tensor(3.0), "none": torch.zeros(0, 3)}
    content |= {"parameter": torch.nn.Parameter(weight), "negative": torch._neg_view(weight)}  # pyright: ignore[reportPrivateImportUsage]
    torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=new)
    read: Any = torch_file.read(tmp_path / "x.pt")
    for name, value in torch.load(tmp_path / "x.pt", weights_only=True).items():
        value = value.detach().resolve_neg()
        found = read[name]
        assert (found.shape, str(found.dtype)) == (tuple(value.shape), str(value.dtype).removeprefix("torch."))
        theirs = value.contiguous().view(-1).view(torch.uint8).numpy() if value.numel() else np.zeros(0, np.uint8)
        assert found.tobytes() == theirs.tobytes(), name
    assert tie_key(read["weight"]) == tie_key(read["tied"]) == tie_key(read["parameter"])
    assert tie_key(read["weight"]) not in (tie_key(read["part"]), tie_key(read["scalar"]), None)
    assert tie_key(read["none"]) is None


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch's, that some kinds are on trial or on their way out
def test_tensors_that_are_no_plain_arrays_are_refused_by_name(tmp_path):
    plain = torch.ones(2, 3)
    for value in (
        torch.quantize_per_tensor(plain, 0.1, 0, torch.quint8),
        plain.to_sparse(),
        plain.to_sparse_csr(),
        torch.empty(2, 3, device="meta"),
        plain.to(torch.complex64),
        plain.to(torch.float8_e4m3fn),
        torch.ones(1).expand(4),
    ):
        torch.save({"x": value}, tmp_path / "x.pt")
        read: Any = torch_file.read(tmp_path / "x.pt")
        assert read["x"].shape == tuple(value.shape)
        assert why_refused("x", read["x"]) == why_refused("x", value) is not None


def test_deep_objects_are_refused_or_read_in_little_memory(tmp_path):
    """One object in the attributes of another, many times over."""
    made = b"cargparse\nNamespace\n)\x81"
    for inner in (b"}X\x01\x00\x00\x00a", b""):
        deep = (
            b"\x80\x02}X\x01\x00\x00\x00x"
            + (made + inner) * 50_000
            + b"N"
            + (b"s" * bool(inner) + b"b") * 50_000
            + b"s."
        )
        (tmp_path / "x.pkl").write_bytes(deep)
        with pytest.raises(InputError):
            read_source(tmp_path / "x.pkl")
