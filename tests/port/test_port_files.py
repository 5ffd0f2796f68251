"""Files in both layouts, as people, accidents and attackers make them."""

import collections
import copy
import importlib
import io
import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.torch
import torch
from flax import nnx

from jaxae import port
from jaxae.config import AUTOENCODER, AutoencoderConfig, ConditionalVAEConfig, ConvVAEConfig, DenseVAEConfig
from jaxae.errors import InputError
from jaxae.network.models import build
from jaxae.network.parameters import named_leaves, parameters_of
from jaxae.port.project_models import recognise, settings_of
from jaxae.port.source import read_source
from jaxae.storage.safetensors import write
from torch_ref.pickle_walk import walk


def net() -> Any:
    return nnx.Sequential(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(4, 2, rngs=nnx.Rngs(1)))


def torch_net() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))


def same(one: nnx.Module, two: nnx.Module) -> bool:
    trees = [nnx.to_pure_dict(nnx.state(module, nnx.Param)) for module in (one, two)]
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, *trees)))


@pytest.mark.parametrize("new_container", [True, False])
def test_torch_files_in_both_containers(tmp_path, new_container):
    path, theirs, ours = tmp_path / "net.pth", torch_net(), net()
    torch.save(theirs.state_dict(), path, _use_new_zipfile_serialization=new_container)
    port.from_torch(ours, path)
    reference = net()
    port.from_torch(reference, theirs)
    assert same(ours, reference)


def test_checkpoints(tmp_path):
    theirs = torch_net()
    torch.save({"epoch": 1, "model_state_dict": theirs.state_dict()}, tmp_path / "a.pt")
    torch.save({"state_dict": theirs.state_dict(), "best": 0.5}, tmp_path / "b.pt")
    torch.save({"my_net": theirs.state_dict(), "step": 1}, tmp_path / "c.pt")
    reference = net()
    port.from_torch(reference, theirs)
    for name in "abc":
        ours = net()
        port.load(ours, tmp_path / f"{name}.pt")
        assert same(ours, reference)


@pytest.mark.parametrize("name", ["net.safetensors", "net.pt"])
@pytest.mark.parametrize("layout", ["torch", "flax"])
def test_written_files_are_read_again(tmp_path, name, layout):
    path, ours = tmp_path / name, net()
    if name == "net.pt" and layout == "flax":
        with pytest.raises(InputError, match="torch's layout"):
            port.save(path, ours, layout="flax")
        return
    port.save(path, ours, layout=layout, model={"hidden": [4]})
    held = read_source(path)
    assert held.metadata["layout"] == layout
    assert held.metadata["framework"] == {"torch": "torch", "flax": "jax"}[layout]
    assert json.loads(held.metadata["model"]) == {"hidden": [4]}
    assert held.metadata["writer"].startswith("jaxae ")
    again = nnx.eval_shape(net)
    port.load(again, path)
    assert same(ours, again)
    assert [one.name for one in tmp_path.iterdir()] == [name]
    if layout == "torch":
        theirs = torch_net()
        theirs.load_state_dict(torch.load(path) if name == "net.pt" else safetensors.torch.load_file(path))
        assert np.array_equal(theirs[0].weight.detach().numpy().T, ours.layers[0].kernel[...])
    else:
        with pytest.raises(InputError, match="torch's layout, got Flax's layout"):
            port.from_torch(net(), path)


def test_float64_is_not_rounded_on_its_way_through_a_file(tmp_path):
    theirs = torch_net().double()
    path = tmp_path / "net.safetensors"
    safetensors.torch.save_file(theirs.state_dict(), path)
    with pytest.raises(InputError, match="enable x64"):
        port.load(net(), path)
    with jax.enable_x64(True):
        ours = net()
        port.load(ours, path)
        assert np.array_equal(ours.layers[0].kernel[...], theirs[0].weight.detach().numpy().T)


def test_files_are_read_without_torch(tmp_path):
    path = tmp_path / "net.safetensors"
    torch.save(torch_net().state_dict(), tmp_path / "net.pt")
    safetensors.torch.save_file(torch_net().state_dict(), path)
    code = f"""
import sys
class NoTorch:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "torch":
            raise ImportError(name)
sys.meta_path.insert(0, NoTorch())
from flax import nnx
from jaxae import port
rngs = nnx.Rngs(0)
net = nnx.Sequential(nnx.Linear(3, 4, rngs=rngs), nnx.relu, nnx.Linear(4, 2, rngs=rngs))
port.load(net, {str(path)!r})
port.save({str(tmp_path / "out.safetensors")!r}, net, layout="torch")
port.load(net, {str(tmp_path / "net.pt")!r})
try:
    port.save({str(tmp_path / "out.pt")!r}, net)
except ValueError as error:
    assert "expected torch, which" in str(error)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    back = safetensors.torch.load_file(tmp_path / "out.safetensors")
    assert all(torch.equal(back[k], v) for k, v in safetensors.torch.load_file(path).items())


def test_a_full_disk_or_a_missing_folder_leaves_nothing(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="expected a folder that can be written to"):
        port.save(tmp_path / "no" / "x.safetensors", net())
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"before")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        port.save(path, net())
    with pytest.raises(InputError, match="No space left"):
        port.save(tmp_path / "x.pt", net())
    assert path.read_bytes() == b"before"
    assert [one.name for one in tmp_path.iterdir()] == ["x.safetensors"]


class Command:
    """Unpickles by running a command that leaves a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("new_container", [True, False])
def test_a_pickle_that_would_run_a_command_does_not(tmp_path, new_container):
    mark = tmp_path / "mark"
    state = {**torch_net().state_dict(), "x": Command(mark)}
    torch.save(state, tmp_path / "x.pt", _use_new_zipfile_serialization=new_container)
    ours = net()
    with pytest.raises(InputError, match="nothing was run") as caught:
        port.from_torch(ours, tmp_path / "x.pt")
    assert "system" in str(caught.value)
    assert "\n" not in str(caught.value)
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Command(mark)))
    with pytest.raises(InputError):
        port.from_torch(ours, tmp_path / "bare.pt")
    assert not mark.exists()
    assert same(ours, net())
    pickle.loads(pickle.dumps(Command(mark)))  # the control: it would have
    assert mark.exists()


def test_a_whole_pickled_module_is_refused(tmp_path):
    torch.save(torch_net(), tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"save model\.state_dict\(\)"):
        port.from_torch(net(), tmp_path / "x.pt")


@pytest.mark.parametrize("new_container", [True, False])
def test_torch_files_cut_anywhere(tmp_path, new_container):
    path = tmp_path / "x.pt"
    torch.save(torch_net().state_dict(), path, _use_new_zipfile_serialization=new_container)
    whole = path.read_bytes()
    ours = net()
    for length in [0, 1, 3, 4, 5, *range(10, len(whole) - 1, len(whole) // 60), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(InputError) as caught:
            port.from_torch(ours, path)
        assert "\n" not in str(caught.value)
    assert same(ours, net())


def rewritten(path: Path, change: Any) -> None:
    """Write a torch zip again with its records changed."""
    with zipfile.ZipFile(path) as archive:
        records = {info.filename: archive.read(info) for info in archive.infolist()}
    how = change(records) or zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in records.items():
            archive.writestr(name, content)


def longer_storage(records: dict[str, bytes]) -> None:
    # A Linear(3, 4)'s weight of 12 elements: K\x0c is pickle's 12, M\xff\x7f its 32767.
    name = next(name for name in records if name.endswith("data.pkl"))
    assert b"K\x0c" in records[name]
    records[name] = records[name].replace(b"K\x0c", b"M\xff\x7f", 1)


def bomb(records: dict[str, bytes]) -> int:
    name = next(name for name in records if name.endswith("data/0"))
    records[name] = bytes(1 << 28)
    return zipfile.ZIP_DEFLATED


def second_pickle(records: dict[str, bytes]) -> None:
    records["other/data.pkl"] = b""


def missing_storage(records: dict[str, bytes]) -> None:
    del records[next(name for name in records if name.endswith("data/0"))]


def storage_of_none(records: dict[str, bytes]) -> None:
    name = next(name for name in records if name.endswith("data.pkl"))
    records[name] = records[name].replace(b"FloatStorage", b"NoneStorage_")


def storage_without_a_size(records: dict[str, bytes]) -> None:
    name = next(name for name in records if name.endswith("data.pkl"))
    records[name] = records[name].replace(b"K\x0c", b"N", 1)


def long_pickle(records: dict[str, bytes]) -> None:
    name = next(name for name in records if name.endswith("data.pkl"))
    records[name] = records[name] + bytes(1 << 26)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (longer_storage, "131068 bytes of the storage '0', but has 48"),
        (bomb, "compressed records"),
        (second_pickle, "2 pickles"),
        (missing_storage, "but has 0"),
        (storage_of_none, "a storage of NoneStorage_, which is not ported"),
        (storage_without_a_size, "declares a storage without a size"),
        (long_pickle, "more than 67108864 bytes"),
    ],
)
def test_torch_zips_that_lie(tmp_path, change, why):
    path = tmp_path / "x.pt"
    torch.save(torch_net().state_dict(), path)
    rewritten(path, change)
    with pytest.raises(InputError, match=why):
        port.from_torch(net(), path)


def test_torch_zips_whose_records_overlap(tmp_path):
    """One record under two names, and under one name twice: each is in the directory more often than on the disk."""
    path = tmp_path / "x.pt"
    for same_name, why in ((True, "two records of one name"), (False, "claim more bytes than the")):
        torch.save(torch_net().state_dict(), path)
        with zipfile.ZipFile(path, "a") as archive:
            largest = max(archive.infolist(), key=lambda info: info.file_size)
            for number in range(1 if same_name else 9):
                twin = copy.copy(largest)
                twin.filename += "" if same_name else str(number)
                archive.filelist.append(twin)
            archive._didModify = True  # pyright: ignore[reportAttributeAccessIssue]  so that it writes its directory
        with pytest.raises(InputError, match=why):
            port.from_torch(net(), path)


def test_a_gigantic_view_of_a_small_storage_is_refused(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"weight": torch.zeros(1).expand(1 << 40), "bias": torch.zeros(2)}, path)
    with pytest.raises(InputError, match="mis-shaped 'weight'"):
        port.from_torch(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), path)
    from jaxae.port.arrays import from_tensor

    with pytest.raises(InputError, match="claims 1099511627776 elements"):
        from_tensor("weight", torch.zeros(1).expand(1 << 40))


def test_old_containers_that_declare_more_than_they_hold(tmp_path):
    path = tmp_path / "x.pt"
    torch.save(torch_net().state_dict(), path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert b"K\x0cN" in content or b"K\x0c" in content
    path.write_bytes(content.replace(b"K\x0c", b"J\xff\xff\xff\x7f"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="declares 8589934"):
        port.from_torch(net(), path)
    # Kilobytes: the two gigabytes (times four) that it declares are never reserved.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def pt(path, pickled: bytes):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", b"3\n")
    return path


DOUBLED = b"\x80\x02)q\x00" + b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(40))
HOSTILE = {
    "tuples of tuples as a key": (DOUBLED + b"}h\x28K\x01s.", "nests"),
    "tuples of tuples as a value": (DOUBLED + b"}K\x01h\x28s.", "nests"),
    "nested tuples": (b"\x80\x02}(" + b")" + b"\x85" * 1_000_000 + b"K\x01u.", "nests"),
    "lists in lists, filled afterwards": (
        b"\x80\x02]q\x00]q\x01" + b"".join(b"h%c]q%ca" % (i, i + 1) for i in range(1, 90)) + b".",
        "used already",
    ),
    "a list as a key": (b"\x80\x02}]K\x01s.", "no plain values"),
    "a bytearray of 16 gigabytes": (b"\x80\x05\x96" + struct.pack("<Q", 2**34) + b".", "damaged"),
    "a string of 4 gigabytes": (b"\x80\x02X" + struct.pack("<I", 2**32 - 1) + b".", "damaged"),
    "a number of 2 gigabytes": (b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b".", "damaged"),
    "a memo of four billion": (b"\x80\x02Nr\xff\xff\xff\xff.", "to hold a state_dict"),
    "ten million parts": (b"\x80\x02](" + b"N" * 10_000_000 + b"e.", "more than 1000000 parts"),
    "a call that reserves": (
        b"\x80\x02}X\x01\x00\x00\x00ac__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85Rs.",
        "not written out",
    ),
    "a tensor made by number": (b"\x80\x02}K\x01ctorch\nFloatTensor\nJ\xff\xff\xff\x7f\x85Rs.", "more than tensors"),
    "bytes that double": (
        b"\x80\x02}K\x01c_codecs\nencode\nq\x00h\x00X\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86RX\x03\x00\x00\x00hex\x86Rs.",
        "not written out|no function",
    ),
    "an attribute that hides a method": (
        b"\x80\x02ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemsK\x01sb.",
        "gives attributes",
    ),
    "an old way to call": (b"\x80\x02(cposix\nsystem\nX\x02\x00\x00\x00lso.", "operation OBJ"),
    "an empty stack": (b"\x80\x02\x85.", "damaged"),
    "a mark too many": (b"\x80\x02}(K\x01\x86u.", "damaged"),
}


@pytest.mark.parametrize(("pickled", "why"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_pickles_are_refused_in_memory(tmp_path, pickled, why):
    path = pt(tmp_path / "x.pt", pickled)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=why) as caught:
        port.from_torch(net(), path)
    assert len(str(caught.value)) < 500
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x03tQ"
V2, ORDERED = b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n)R"


def tensor(shape: bytes, strides: bytes = b"K\x01\x85", offset: bytes = b"K\x00") -> bytes:
    return V2 + b"(" + STORAGE + offset + shape + strides + b"\x89" + ORDERED + b"tR"


HUGE = b"\x8a\x05\x00\x00\x00\x00\x01"
LYING = {
    "sound": (tensor(b"K\x03\x85"), None),
    "empty": (tensor(b"K\x00\x85"), None),
    "longer": (tensor(b"K\x04\x85"), "16 bytes in a storage of 12"),
    "huge, which torch would make room for": (tensor(HUGE + b"\x85"), "in a storage of 12"),
    "wide": (tensor(b"K\x03\x85", b"K\x02\x85"), "20 bytes in a storage of 12"),
    "behind": (tensor(b"K\x03\x85", offset=b"K\x01"), "16 bytes"),
    "before": (tensor(b"K\x03\x85", offset=b"J\xff\xff\xff\xff"), "no whole numbers|not whole numbers"),
    "two axes, a stride": (tensor(b"K\x01K\x03\x86"), "as many of either"),
    "a list": (tensor(b"](K\x03e"), "not whole numbers"),
    "a storage for a shape": (tensor(STORAGE), "not whole numbers"),
    "a mapping of a storage": (b"ccollections\nOrderedDict\n" + STORAGE + b"\x85R", "of what is no list"),
    "a parameter of a storage": (
        b"ctorch._utils\n_rebuild_parameter\n(" + STORAGE + b"\x89" + ORDERED + b"tR",
        "no tensor",
    ),
    "a storage by another name": (
        b"(c_codecs\nencode\nX\x07\x00\x00\x00storageX\x06\x00\x00\x00latin1\x86R" + STORAGE[13:],
        "no storage",
    ),
    "two sizes of one storage": (
        tensor(b"K\x03\x85") + b"sX\x01\x00\x00\x00b" + STORAGE.replace(b"K\x03", b"K\x02"),
        "twice",
    ),
}


@pytest.mark.parametrize(("value", "why"), LYING.values(), ids=LYING)
def test_a_tensor_lies_within_its_storage(tmp_path, value, why):
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02}X\x01\x00\x00\x00a" + value + b"s.")
        archive.writestr("x/version", b"3\n")
        archive.writestr("x/data/0", bytes(12))
    if why is None:
        assert float(read_source(path).tensors["a"].sum()) == 0
        return
    with pytest.raises(InputError, match=why):
        read_source(path)


def test_archives_that_torch_reads_otherwise(tmp_path):
    path = tmp_path / "x.pt"
    torch.save(torch_net().state_dict(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + whole)
    with pytest.raises(InputError, match="does not begin where the file does"):
        read_source(path)
    path.write_bytes(whole)
    rewritten(path, lambda records: records.update({name.upper(): records[name] for name in list(records)}))
    with pytest.raises(InputError, match="two records of one name"):
        read_source(path)


def test_an_old_container_lists_the_storages_that_it_declares(tmp_path):
    path = tmp_path / "x.pt"
    torch.save(torch_net().state_dict(), path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    begin = whole.rindex(b"\x80\x02]")
    end = whole.index(b"e.", begin)
    lacks = "just the tensors that it declares"
    for keys, said in {b"": lacks, b"(" + b"\x85" * 200: "nests|damaged", b"X\x01\x00\x00\x00xa": lacks}.items():
        path.write_bytes(whole[: begin + 3] + keys + b"." + whole[end + 2 :])
        with pytest.raises(InputError, match=said):
            read_source(path)


@pytest.mark.parametrize("said", [3, {"": 3}, {"": {"jaxae": 3}}, {"": {"jaxae": {"model": 3, 4: "x"}}}])
def test_odd_metadata_is_none(tmp_path, said):
    weights = collections.OrderedDict(torch_net().state_dict())
    weights._metadata = said  # pyright: ignore[reportAttributeAccessIssue]
    torch.save(weights, tmp_path / "x.pt")
    assert read_source(tmp_path / "x.pt").metadata == {}
    torch.save({1: torch.zeros(2)}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="got a int in a name's place"):
        read_source(tmp_path / "x.pt")
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))]).state_dict()
    with pytest.raises(InputError, match="got a int in a name's place"):
        port.optimizer_from_torch(net(), {"model": {1: torch.zeros(2)}, "optimizer": optimizer})


def test_the_walk_imports_nothing():
    class Evil:
        def __reduce__(self):
            return importlib.import_module, ("antigravity",)

    assert walk(io.BytesIO(pickle.dumps([Evil(), collections.OrderedDict(a=1)]))).storages == {}
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda folder: folder / "none.pt", "No such file"),
        (lambda folder: folder / "none.safetensors", "No such file"),
        (lambda folder: folder / "none.onnx", "ends in"),
        (lambda folder: folder, "run directory with weights.safetensors"),
    ],
)
def test_files_that_are_not_there(tmp_path, make, why):
    with pytest.raises(InputError, match=why):
        port.from_torch(net(), make(tmp_path))


def test_a_file_of_another_layout_or_net(tmp_path):
    path = tmp_path / "x.safetensors"
    port.save(path, net())
    other = nnx.Sequential(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), nnx.Linear(4, 9, rngs=nnx.Rngs(0)))
    before = np.array(other.layers[0].kernel[...])
    with pytest.raises(InputError) as caught:
        port.load(other, path)
    for part in ("missing 'layers.1.kernel' (4, 9) (did you mean 'layers.", "unexpected 'layers.2."):
        assert part in str(caught.value)
    assert np.array_equal(other.layers[0].kernel[...], before)
    port.save(path, nnx.Linear(3, 4, use_bias=False, rngs=nnx.Rngs(0)))
    with pytest.raises(InputError, match=r"mis-shaped 'kernel': expected \(4, 3\), got \(3, 4\)"):
        port.load(nnx.Linear(4, 3, use_bias=False, rngs=nnx.Rngs(0)), path)
    write(path, {"x": np.zeros(3)}, {})
    with pytest.raises(InputError, match="tell torch's layout from Flax's"):
        port.load(net(), path)


@pytest.mark.parametrize(
    "config",
    [
        AutoencoderConfig(),
        AutoencoderConfig(20, (9, 4), "tanh"),
        ConditionalVAEConfig(),
        ConditionalVAEConfig(7, 0),
        ConditionalVAEConfig(3, 4, reconstruct_condition=True),
        DenseVAEConfig(),
        DenseVAEConfig(3, 4, hidden=(6, 5, 7), activation="relu"),
        ConvVAEConfig(),
        ConvVAEConfig(3, 2, height=9, width=13, channels=2, widths=(4, 5), activation="tanh"),
        ConvVAEConfig(3, height=9, width=13, widths=(4, 5), likelihood="gaussian", scale_value=0.3),
        ConvVAEConfig(3, height=9, width=13, widths=(4,), likelihood="discretized-logistic", scale="per-pixel"),
        DenseVAEConfig(3, hidden=(6,), likelihood="gaussian", scale="per-pixel"),
    ],
)
def test_own_models_are_known_by_their_tensors(tmp_path, config):
    model = nnx.eval_shape(lambda: build(config, rngs=nnx.Rngs(0)))
    nnx.update(model, jax.tree.map(lambda leaf: np.zeros(leaf.shape, "f"), nnx.state(model)))
    for layout in ("torch", "flax"):
        path = tmp_path / f"{layout}.safetensors"
        port.save(path, model, layout=layout, model=settings_of(config))
        assert recognise(read_source(path)) == config
    other = tmp_path / "other.safetensors"
    port.save(other, net())
    with pytest.raises(InputError, match="expected one of jaxae's models"):
        recognise(read_source(other))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("{", "expected settings as JSON in the metadata, got"),
        ("[]", "expected settings as a mapping in the file, got list"),
        ('{"hidden": 3}', "expected hidden to be a tuple, got 3"),
        ('{"hidden": [3, 2]}', "expected the tensors of AutoencoderConfig.*, as the file says, got those of"),
    ],
)
def test_what_a_file_says_of_its_model_must_be_so(tmp_path, said, why):
    path = tmp_path / "x.safetensors"
    model = build(AutoencoderConfig(4, (3,)), rngs=nnx.Rngs(0))
    arrays = {name: np.asarray(leaf) for name, leaf in named_leaves(parameters_of(model)).items()}
    write(path, arrays, {"layout": "flax", "model": said})
    with pytest.raises(InputError, match=why):
        recognise(read_source(path))


def test_a_run_directory_is_read(tmp_path):
    from jaxae.network.models import Autoencoder, parameters_of
    from jaxae.training.run_folder import save_weights

    model = build(AUTOENCODER.model, rngs=nnx.Rngs(3))
    (tmp_path / "config.json").write_text(json.dumps(AUTOENCODER.to_json()))
    save_weights(tmp_path / "weights.safetensors", AUTOENCODER, parameters_of(model))
    again = nnx.eval_shape(lambda: build(AUTOENCODER.model, rngs=nnx.Rngs(0)))
    port.load(again, tmp_path)
    assert same(model, again)
    assert recognise(read_source(tmp_path)) == AUTOENCODER.model
    assert isinstance(again, Autoencoder)
    assert jnp.isfinite(again.linear_1.kernel[...]).all()


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt"])
def test_nan_is_told_of_as_it_is_written(tmp_path, name):
    ours: Any = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    ours.bias.set_value(jnp.full(3, jnp.nan))
    with pytest.warns(UserWarning, match="NaN in 'bias', ported as it is"):
        port.save(tmp_path / name, ours, layout="torch")
    with pytest.warns(UserWarning, match="NaN in 'bias', ported as it is"):
        port.load(ours, tmp_path / name)
