"""Linen's files and dicts, read into NNX modules and views; what does not port is refused in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.serialization
import flax.traverse_util
import jax
import jax.numpy as jnp
import msgpack
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import linen, nnx
from safetensors.numpy import save_file

from jaxae import InputError, port
from jaxae.port.source import read_source


class Net(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = linen.BatchNorm(True)(linen.Dense(5)(x))
        return linen.Dense(4)(linen.tanh(x))


class Twin(nnx.Module):
    """The same network under Linen's names."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(1)
        self.Dense_0, self.Dense_1 = nnx.Linear(6, 5, rngs=rngs), nnx.Linear(5, 4, rngs=rngs)
        self.BatchNorm_0 = nnx.BatchNorm(5, rngs=rngs)


VARIABLES: Any = Net().init(jax.random.key(0), jnp.zeros((1, 6)))
STATE = {"step": np.int32(3), "opt_state": {"0": {"count": np.int32(3)}}, **VARIABLES}


def flat(separator: str) -> dict[str, np.ndarray]:
    leaves = flax.traverse_util.flatten_dict(VARIABLES)
    return {separator.join(path): np.asarray(leaf) for path, leaf in leaves.items()}


def write_msgpack(path: Path, tree: Any) -> Path:
    path.write_bytes(flax.serialization.msgpack_serialize(tree))
    return path


def write_orbax(path: Path, tree: Any, **more: Any) -> Path:
    with ocp.PyTreeCheckpointer(**more) as checkpointer:
        checkpointer.save(path, tree)
    return path


def write_steps(path: Path) -> Path:
    with ocp.CheckpointManager(path) as manager:
        for step in (9, 10):
            tree = VARIABLES if step == 10 else jax.tree.map(jnp.zeros_like, VARIABLES)
            manager.save(step, args=ocp.args.StandardSave(tree))
        manager.wait_until_finished()
    return path


def write_safetensors(path: Path, separator: str) -> Path:
    save_file(flat(separator), path)
    return path


WRITERS: dict[str, Callable[[Path], Any]] = {
    "dict": lambda _: VARIABLES,
    "flat dict": lambda _: flat("/"),
    "msgpack": lambda folder: write_msgpack(folder / "x.msgpack", VARIABLES),
    "msgpack of a training": lambda folder: write_msgpack(folder / "x.msgpack", STATE),
    "slashes": lambda folder: write_safetensors(folder / "x.safetensors", "/"),
    "dots": lambda folder: write_safetensors(folder / "x.safetensors", "."),
    "orbax": lambda folder: write_orbax(folder / "x", VARIABLES),
    "orbax of a training": lambda folder: write_orbax(folder / "x", STATE),
    "orbax, a file an array": lambda folder: write_orbax(folder / "x", VARIABLES, use_ocdbt=False),
    "orbax, steps": lambda folder: write_steps(folder / "x"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_form_fills_a_twin_and_a_bridged_module(name, tmp_path):
    source = WRITERS[name](tmp_path)
    bridged: Any = nnx.bridge.ToNNX(Net(), rngs=nnx.Rngs(1)).lazy_init(jnp.zeros((1, 6)))
    module: Any
    for module in (Twin(), bridged, port.LinenView(jax.tree.map(jnp.zeros_like, VARIABLES))):
        report = (port.load if isinstance(source, Path) else port.from_torch)(module, source)
        assert {row.flax for row in report.rows} == set(read_source(source).tensors)
        back = port.to_arrays(module)[0]
        expected = port.to_arrays(VARIABLES)[0]
        assert set(back) == set(expected)
        assert all(np.array_equal(back[one], array) for one, array in expected.items())
    assert ("opt_state" in read_source(source).beside) == ("training" in name)


def test_a_nnx_state_of_orbax(tmp_path):
    ours, other = Twin(), Twin()
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "x", nnx.state(jax.tree.map(lambda one: one + 1, ours)))
    port.load(other, tmp_path / "x")
    assert np.array_equal(other.Dense_0.kernel[...], ours.Dense_0.kernel[...] + 1)


def test_lstm_of_a_twin():
    class Cell(nnx.Module):
        def __init__(self) -> None:
            self.cell = nnx.LSTMCell(3, 5, rngs=nnx.Rngs(0))

    cell = linen.LSTMCell(5)
    variables: Any = cell.init(jax.random.key(0), cell.initialize_carry(jax.random.key(0), (3,)), jnp.zeros(3))
    ours = Cell()
    port.from_torch(ours, {"params": {"cell": variables["params"]}})
    assert np.array_equal(ours.cell.if_.kernel[...], variables["params"]["if"]["kernel"])


def test_bfloat16_keeps_its_bits(tmp_path):
    half: Any = jax.tree.map(lambda one: one.astype(jnp.bfloat16), VARIABLES)
    ours = Twin()
    port.load(ours, write_msgpack(tmp_path / "x.msgpack", half))
    assert np.array_equal(ours.Dense_1.kernel[...], half["params"]["Dense_1"]["kernel"])


def array(shape: list[int], dtype: str, content: bytes, code: int = 1) -> msgpack.ExtType:
    return msgpack.ExtType(code, msgpack.packb([shape, dtype, content]))


DAMAGED = {
    "nothing": b"",
    "another kind": b"\x93\x01\x02\x03",
    "deep": b"\x81\xa1a" * 100_000 + b"\xc0",
    "deep within bounds": b"\x81\xa1a" * 500 + b"\x01",
    "a huge map": b"\xdf\xff\xff\xff\xff\xa1a",
    "a huge text": b"\x81\xdb\xff\xff\xff\xffa",
    "a huge array": msgpack.packb({"a": array([1 << 40], "float32", b"1234")}),
    "a negative axis": msgpack.packb({"a": array([-1], "float32", b"1234")}),
    "objects": msgpack.packb({"a": array([1], "O", b"12345678")}),
    "texts": msgpack.packb({"a": array([1], "S2000000000", b"12345678")}),
    "another extension": msgpack.packb({"a": msgpack.ExtType(7, b"x")}),
    "twins": b"\x82\xa1a\x01\xa1a\x01",
    "chunks": msgpack.packb({"a": {"__msgpack_chunked_array__": True, "shape": {"0": 3}, "chunks": {}}}),
    "numbers for names": msgpack.packb({1: 2}),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_msgpack_is_refused_in_one_line(name, tmp_path):
    path = tmp_path / "x.msgpack"
    path.write_bytes(DAMAGED[name])
    with pytest.raises(InputError, match=r"^expected ") as refused:
        port.load(Twin(), path)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_cut_and_altered_msgpack_is_refused_or_read(tmp_path):
    path = tmp_path / "x.msgpack"
    sound = write_msgpack(path, VARIABLES).read_bytes()
    rng = np.random.default_rng(0)
    told = []
    for trial in range(200):
        content = bytearray(sound if trial % 2 else sound[: rng.integers(len(sound))])
        if content:
            content[int(rng.integers(len(content)))] = int(rng.integers(256))
        path.write_bytes(content)
        try:
            source = read_source(path)
        except InputError as error:
            told.append(str(error))
        else:
            assert sum(one.nbytes for one in source.tensors.values()) <= len(sound)
    assert len(told) > 100
    assert not [one for one in told if "\n" in one or not one.startswith("expected ")]


@pytest.mark.filterwarnings("ignore")
def test_damaged_orbax_folders_are_refused_in_one_line(tmp_path):
    folder = write_orbax(tmp_path / "x", VARIABLES, use_ocdbt=False)
    (folder / "params.Dense_0.kernel" / "0.0").unlink()
    for content in (None, "{", "[]"):
        if content is not None:
            (folder / "_METADATA").write_text(content)
        with pytest.raises(InputError, match=r"^expected ") as refused:
            port.load(Twin(), folder)
        assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="or a folder of Orbax, got"):
        port.load(Twin(), tmp_path)


def test_what_does_not_port_is_refused():
    def variables(module: linen.Module, *inputs: Any) -> Any:
        return module.init(jax.random.key(0), *inputs)

    normed = linen.WeightNorm(linen.Dense(3))
    with pytest.raises(InputError, match=r"'layer_instance/kernel/scale' is refused: it belongs to a layer that wraps"):
        port.to_arrays(variables(normed, jnp.zeros((1, 4))))
    stacked = {"params": {"Dense_0": {"kernel": jnp.zeros((3, 4, 4)), "bias": jnp.zeros((3, 4))}}}
    with pytest.raises(InputError, match=r"'Dense_0'.* nn.vmap stacked port where the module is given"):
        port.to_arrays(stacked)
    with pytest.raises(InputError, match="expected a ToNNX with variables"):
        port.to_arrays(nnx.bridge.ToNNX(linen.Dense(3), rngs=nnx.Rngs(0)))
    with pytest.raises(InputError, match="expected one variable at a path"):
        port.to_arrays({"params": {"a": {"kernel": jnp.zeros((2, 2))}}, "stats": {"a": {"kernel": jnp.zeros(2)}}})
    with pytest.raises(InputError, match="expected arrays in the Linen variables, got str at 'params/a/kernel'"):
        port.to_arrays({"params": {"a": {"kernel": "x"}}})
    with pytest.raises(InputError, match="expected inputs that the Linen module takes"):
        port.LinenView(VARIABLES, Net(), inputs=(2, 7))
