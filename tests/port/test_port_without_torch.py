"""Torch's files, read where torch is not installed: this file imports none, and writes them by hand."""

import struct
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from commands.flags import main_of
from flax import nnx

from jaxae import port
from jaxae.errors import InputError
from jaxae.port.arrays import tie_key
from jaxae.port.source import read_source

ORDERED = b"ccollections\nOrderedDict\n)R"
KINDS = {
    "Float": np.float32,
    "Double": np.float64,
    "Half": np.float16,
    "BFloat16": ml_dtypes.bfloat16,
    "Long": np.int64,
}


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def sizes(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(b"K" + bytes([value]) for value in values) + b"t"


def tensor(kind: str, key: str, items: int, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> bytes:
    storage = b"(" + text("storage") + f"ctorch\n{kind}Storage\n".encode() + text(key) + text("cpu")
    storage += b"K" + bytes([items]) + b"tQ"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K" + bytes([offset]) + sizes(shape) + sizes(strides)
    ) + (b"\x89" + ORDERED + b"tR")


def archive(path: Path, tensors: dict[str, bytes], storages: dict[str, bytes], beside: bytes = b"", order="little"):
    inner = b"}(" + b"".join(text(name) + one for name, one in tensors.items()) + b"u"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x/data.pkl", b"\x80\x02}(" + text("model") + inner + beside + b"u.")
        file.writestr("x/byteorder", order)
        file.writestr("x/version", b"3\n")
        for key, content in storages.items():
            file.writestr(f"x/data/{key}", content)


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_number(tmp_path, kind, order):
    values = np.arange(6).astype(KINDS[kind])
    raw = values if order == "little" else values.view(f"u{values.itemsize}").byteswap()
    views = {
        "whole": tensor(kind, "0", 6, (2, 3), (3, 1)),
        "tied": tensor(kind, "0", 6, (2, 3), (3, 1)),
        "transposed": tensor(kind, "0", 6, (3, 2), (1, 3)),
        "part": tensor(kind, "0", 6, (2,), (2,), offset=1),
        "scalar": tensor(kind, "0", 6, (), (), offset=5),
        "none": tensor(kind, "0", 6, (0, 3), (3, 1)),
    }
    archive(tmp_path / "x.pt", views, {"0": raw.tobytes()}, order=order)
    read: Any = read_source(tmp_path / "x.pt", weights="model").tensors
    whole = values.reshape(2, 3)
    expected = {"whole": whole, "tied": whole, "transposed": whole.T, "part": values[[1, 3]], "scalar": values[5]}
    for name, value in (expected | {"none": whole[:0]}).items():
        assert (read[name].dtype, read[name].shape) == (value.dtype, value.shape)
        assert read[name].tobytes() == value.tobytes()
    assert tie_key(read["whole"]) == tie_key(read["tied"]) != tie_key(read["part"])


def linear(path: Path, beside: bytes = b"") -> tuple[np.ndarray, np.ndarray]:
    weight, bias = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([7, 8], np.float32)
    tensors = {"weight": tensor("Float", "0", 6, (2, 3), (3, 1)), "bias": tensor("Float", "1", 2, (2,), (1,))}
    archive(path, tensors, {"0": weight.tobytes(), "1": bias.tobytes()}, beside)
    return weight, bias


def test_a_checkpoint_is_loaded(tmp_path):
    namespace = text("args") + b"cargparse\nNamespace\n)\x81}" + text("lr") + b"G" + struct.pack(">d", 0.1) + b"sb"
    weight, bias = linear(tmp_path / "x.pt", namespace)
    ours = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    report = port.load(ours, tmp_path / "x.pt")
    np.testing.assert_array_equal(ours.kernel[...], weight.T)
    assert ours.bias is not None
    np.testing.assert_array_equal(ours.bias[...], bias)
    assert [row.torch for row in report.rows] == ["weight", "bias"]
    assert read_source(tmp_path / "x.pt").beside == ["args"]


def test_a_script_writes_safetensors(tmp_path, monkeypatch):
    weight, _ = linear(tmp_path / "x.pt")
    made = "from flax import nnx\ndef make():\n    return nnx.Linear(3, 2, rngs=nnx.Rngs(0))\n"
    (tmp_path / "made_without_torch.py").write_text(made)
    monkeypatch.syspath_prepend(tmp_path)
    main_of("port_weights")(tmp_path / "x.pt", tmp_path / "y.safetensors", model="made_without_torch:make")
    np.testing.assert_array_equal(read_source(tmp_path / "y.safetensors").tensors["kernel"], weight.T)


def test_an_object_of_an_unknown_class_is_refused_or_left_inert(tmp_path):
    unknown = text("x") + b"cposix\nsystem\n(" + text("exit 1") + b"tR"
    weight, _ = linear(tmp_path / "x.pt", unknown)
    ours = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match=r"more than tensors \(posix\.system\), which would run code; nothing was run"):
        port.load(ours, tmp_path / "x.pt")
    port.load(ours, tmp_path / "x.pt", allow=["posix.system"])
    np.testing.assert_array_equal(ours.kernel[...], weight.T)


UNTYPED = b"(" + text("storage") + b"ctorch.storage\nUntypedStorage\n" + text("0") + text("cpu") + b"K\x04tQ"
BYTES = b"ctorch._utils\n_rebuild_tensor_v3\n(" + UNTYPED + b"K\x00" + sizes((2,)) + sizes((1,))
BYTES += b"\x89" + ORDERED + b"ctorch\nuint16\ntR"
META = b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n(ctorch\nfloat32\n(" + text("a") + b"t(K\x01t\x89tR"


@pytest.mark.parametrize(
    ("tensors", "why"),
    [({"a": BYTES}, "big-endian bytes of unknown items"), ({"a": META}, "whose shape is not whole numbers")],
    ids=["bytes", "meta"],
)
def test_tensors_that_lie(tmp_path, tensors, why):
    archive(tmp_path / "x.pt", tensors, {"0": bytes(4)} if tensors["a"] is BYTES else {}, order="big")
    with pytest.raises(InputError, match=why):
        read_source(tmp_path / "x.pt")


DTYPE = (
    b"cnumpy\ndtype\n(" + text("f8") + b"\x89\x88tR(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
)


def array(shape: bytes, raw: bytes) -> bytes:
    made = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
    return made + b"(K\x01" + shape + DTYPE + b"\x89C" + bytes([len(raw)]) + raw + b"tb"


STORAGE = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x02tQ"
NUMPY_AND_OTHERS = {
    "an array": (array(b"K\x02\x85", bytes(16)), None),
    "an array of too few bytes": (array(b"K\x02\x85", bytes(8)), "a NumPy array of 8 bytes, which are not those of"),
    "an array of too many bytes": (array(b"K\x00\x85", bytes(8)), "a NumPy array of 8 bytes, which are not those of"),
    "an array of half an item": (
        array(b"G\x3f\xe0\x00\x00\x00\x00\x00\x00\x85", bytes(8)),
        "a NumPy array of no shape",
    ),
    "a negative length": (array(b"J\xff\xff\xff\xff\x85", bytes(8)), "a NumPy array of no shape"),
    "a set of an array": (
        b"c__builtin__\nfrozenset\n" + array(b"K\x02\x85", bytes(16)) + b"\x85R",
        "of what is no list",
    ),
    "a deque of a number": (b"ccollections\ndeque\nK\x05\x85R", "of what is no list"),
    "a storage without its bytes": (STORAGE, "a pickle of tensors without their bytes"),
    "what calls a call": (b"cargparse\nNamespace\n)R)R", "it calls what is no function"),
    "bytes of no storage": (b"ctorch.storage\n_load_from_bytes\nC\x0a" + 3 * b"\x80\x02." + b"N\x85R", "damaged"),
    "bytes of nothing": (
        b"ctorch.storage\n_load_from_bytes\nC\x10" + 4 * b"\x80\x02N." + b"\x85R",
        "it has the bytes of what is no storage",
    ),
    "a module of a storage": (b"cargparse\nNamespace\n)\x81}" + text("a") + STORAGE + b"sb", "without their bytes"),
}


@pytest.mark.parametrize(("value", "why"), NUMPY_AND_OTHERS.values(), ids=NUMPY_AND_OTHERS)
def test_pickles_that_lie(tmp_path, value, why):
    weight = array(b"K\x02\x85", np.ones(2).tobytes())
    pickled = b"\x80\x03}(" + text("model") + b"}" + text("weight") + weight + b"s" + text("more") + value + b"u."
    (tmp_path / "x.pkl").write_bytes(pickled)
    if why is None:
        assert read_source(tmp_path / "x.pkl").tensors["weight"].tolist() == [1, 1]
        return
    with pytest.raises(InputError, match=why) as caught:
        read_source(tmp_path / "x.pkl")
    assert len(str(caught.value)) < 500


def test_a_file_that_is_one_object_is_refused_unless_it_is_allowed(tmp_path):
    state = text("_parameters") + b"}" + text("weight") + array(b"K\x02\x85", bytes(16)) + b"s"
    (tmp_path / "x.pkl").write_bytes(b"\x80\x03cargparse\nNamespace\n)\x81}" + state + b"sb.")
    with pytest.raises(
        InputError, match=r"more than tensors \(a whole argparse.Namespace\), .*'--allow argparse.Namespace'"
    ):
        read_source(tmp_path / "x.pkl")
    assert list(read_source(tmp_path / "x.pkl", allow=["argparse"]).tensors) == ["weight"]
