"""Safetensors files, as the package, older versions, accidents and attackers make them."""

import json
import re
import resource
import struct
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from jaxae.errors import InputError
from jaxae.storage import safetensors as own

ARRAYS = {
    "b": np.arange(6, dtype=np.float64).reshape(2, 3),
    "a": np.arange(4).astype(ml_dtypes.bfloat16),
    "half": np.array([1.5, np.nan], np.float16),
    "scalar": np.array(3, np.int64),
    "empty": np.zeros((0, 3), np.float32),
    "flags": np.array([True, False, True]),
}


def check_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_written_files_are_read_again(tmp_path):
    path = tmp_path / "x.safetensors"
    own.write(path, ARRAYS, {"about": "a test", "a": "b"})
    held = own.read(path)
    check_same(held.arrays, ARRAYS)
    assert held.metadata == {"about": "a test", "a": "b"}
    own.write(path, {}, {})
    assert own.read(path) == own.TensorFile({}, {})


@pytest.mark.parametrize(("layout", "names"), [("torch", ("pt", "torch")), ("flax", ("flax", "jax"))])
def test_a_file_of_weights_says_which_framework_its_layout_is_of(layout, names):
    said = own.weight_metadata(layout, model="{}")
    assert (said["format"], said["framework"], said["layout"], said["model"]) == (*names, layout, "{}")


def test_safetensors_as_the_reference_implementation_has_them(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    path = tmp_path / "x.safetensors"
    own.write(path, ARRAYS, {"about": "a test"})
    theirs = load_file(path)
    for name, array in ARRAYS.items():
        assert theirs[name].shape == array.shape
    assert torch.equal(theirs["a"], torch.arange(4).bfloat16())
    plain = {name: array for name, array in ARRAYS.items() if name != "a"}
    safetensors.numpy.save_file(plain, path, {"format": "np", "more": "words"})
    held = own.read(path)
    assert held.metadata == {"format": "np", "more": "words"}
    check_same({name: held.arrays[name] for name in plain}, plain)


def test_the_same_arrays_make_the_same_bytes(tmp_path):
    path = tmp_path / "x.safetensors"
    metadata = {name: name for name in "abcdefgh"}
    written = set()
    for _ in range(50):
        own.write(path, ARRAYS, metadata)
        written.add(path.read_bytes())
    assert len(written) == 1
    # The control: several keys of metadata make the package's own files differ.
    files = {safetensors.numpy.save(ARRAYS, metadata) for _ in range(50)}
    assert len(files) > 1


def test_views_are_written_as_they_look(tmp_path):
    path = tmp_path / "x.safetensors"
    whole = np.arange(24, dtype=np.float32).reshape(4, 6)
    own.write(path, {"turned": whole.T, "part": whole[::2, 1:3]}, {})
    check_same(own.read(path).arrays, {"turned": whole.T, "part": whole[::2, 1:3]})


def test_float64_stays_float64_with_x64_off(tmp_path):
    assert not jax.config.read("jax_enable_x64")
    path = tmp_path / "x.safetensors"
    own.write(path, {"x": np.array([1 + 2**-52])}, {})
    assert own.read(path).arrays["x"].tolist() == [1 + 2**-52]


def test_a_dtype_that_the_format_lacks_is_refused(tmp_path):
    for array in (np.zeros(2, ">f4"), np.zeros(2, ml_dtypes.float8_e4m3fn), np.array(["a"])):
        with pytest.raises(InputError, match="expected a dtype that safetensors has"):
            own.write(tmp_path / "x.safetensors", {"x": array}, {})
    assert not list(tmp_path.iterdir())


def container(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: Any = (2,), offsets: Any = (0, 8), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_files_of_earlier_versions_are_read(tmp_path):
    """Metadata under several keys, tensors in the order of their declaration, widest first."""
    path = tmp_path / "x.safetensors"
    metadata = {"format": "flax", "layout": "flax", "writer": "jaxae 0.1.0", "config": "{}"}
    header = {
        "__metadata__": metadata,
        "small": entry((4,), (16, 24), "BF16"),
        "z": entry((2,), (8, 16)),
        "a": entry((1,), (0, 8), "F64"),
    }
    data = np.array([3.5]).tobytes() + np.array([1, 2], "f4").tobytes()
    data += ARRAYS["a"].tobytes()
    path.write_bytes(container(header, data))
    held = own.read(path)
    expected = {"small": ARRAYS["a"], "z": np.array([1, 2], np.float32), "a": np.array([3.5])}
    check_same(held.arrays, expected)
    assert held.metadata == metadata


def test_files_that_others_changed_are_read(tmp_path):
    """They keep the metadata of a file of ours, but other tensors and more metadata."""
    path = tmp_path / "x.safetensors"
    said = json.dumps({"metadata": {"layout": "flax"}, "order": ["gone", "b", "a"]})
    arrays = {name: np.zeros(1, np.float32) for name in ("a", "b", "new")}
    path.write_bytes(safetensors.numpy.save(arrays, {"jaxae": said, "theirs": "1"}))
    held = own.read(path)
    assert list(held.arrays) == ["b", "a", "new"]
    assert held.metadata == {"layout": "flax", "theirs": "1"}


HEADER_JSON = "invalid.?(json|header|utf)"
# What the package refuses is in its words, of releases 0.5 and 0.8.
DAMAGED = {
    "empty": (b"", "header.?too.?small"),
    "short": (b"\x01\x02", "header.?too.?small"),
    "header longer than the file": (container({}, length=1 << 40), "header.?too.?large"),
    "too large": (container({"a": {"b": "x" * (1 << 24)}}), "header.?too.?large"),
    "no json": (container(b"nonsense"), HEADER_JSON),
    "no utf-8": (container(b'{"\xff": 1}'), HEADER_JSON),
    "deep json": (container(b"[" * 100_000), HEADER_JSON),
    "deep entry": (container(b'{"a": {"dtype": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}"), HEADER_JSON),
    "list": (container([1]), HEADER_JSON),
    "no entry": (container({"a": 3}), HEADER_JSON),
    "lying shape": (container({"a": entry((3,))}, bytes(8)), "invalid.?shape|TensorInvalidInfo"),
    "gigantic": (container({"a": entry((1 << 60, 1 << 60))}, bytes(8)), "overflow"),
    "gigantic and consistent": (container({"a": entry((1 << 40,), (0, 1 << 42))}, bytes(8)), "metadata"),
    "out of range": (container({"a": entry((4,), (0, 16))}, bytes(8)), "metadata"),
    "overlap": (container({"a": entry(), "b": entry((2,), (4, 12))}, bytes(12)), "invalid.?offset.*b"),
    "gap": (container({"a": entry(), "b": entry((2,), (12, 20))}, bytes(20)), "invalid.?offset.*b"),
    "rest": (container({"a": entry()}, bytes(9)), "metadata"),
    "backwards": (container({"a": entry((0,), (8, 0))}, bytes(8)), "invalid.?offset.*a"),
    "negative": (container({"a": entry((-2,), (0, 8))}, bytes(8)), HEADER_JSON),
    "true": (container({"a": entry((True,), (0, 4))}, bytes(4)), HEADER_JSON),
    "float offsets": (container({"a": entry((2,), (0, 8.0))}, bytes(8)), HEADER_JSON),
    "huge number": (container(b'{"a":' + b"9" * 5000 + b"}"), HEADER_JSON),
    "metadata": (container({"__metadata__": {"a": 1}}), HEADER_JSON),
    "unknown dtype": (container({"a": entry(dtype="F4")}, bytes(8)), "invalid.?shape|invalid.?header"),
    # What it does not refuse.
    "beyond NumPy": (container({"a": entry((2**63 - 1, 0), (0, 0))}), "too big|dimension"),
    "many axes": (container({"a": entry((1,) * 99, (0, 4))}, bytes(4)), "dimension.*99"),
    "float8": (container({"a": entry((8,), dtype="F8_E4M3")}, bytes(8)), "'a' has the dtype F8_E4"),
    "more keys": (container({"a": entry() | {"x": 1}}, bytes(8)), "entry of 'a'"),
    "twice": (container(b'{"a": %b, "a": %b}' % (2 * (json.dumps(entry()).encode(),)), bytes(8)), "names 'a' twice"),
    "twice in an entry": (
        container(b'{"a": {"dtype": "F32", "shape": [2], "shape": [2], "data_offsets": [0, 8]}}', bytes(8)),
        "twice|duplicate|invalid.?header",
    ),
    "metadata twice": (container(b'{"__metadata__": {"a": "1", "a": "2"}}'), "names 'a' twice"),
    "own metadata, no json": (container({"__metadata__": {"jaxae": "{"}}), "Expecting"),
    "own metadata, a list": (container({"__metadata__": {"jaxae": "[]"}}), "metadata 'jaxae'"),
    "own metadata, numbers": (
        container({"__metadata__": {"jaxae": '{"metadata": {"a": 1}, "order": []}'}}),
        "metadata 'jaxae'",
    ),
    "own metadata, deep": (container({"__metadata__": {"jaxae": "[" * 100_000}}), "metadata 'jaxae'|recursion"),
    "long names": (container({"n" * 100_000: entry(), "b": entry((2,), (12, 20))}, bytes(20)), "invalid.?offset"),
    "long names twice": (
        container(b'{"%b": %b, "%b": %b}' % (2 * (b"n" * 9999, json.dumps(entry()).encode())), bytes(8)),
        "names 'nnn.*' twice",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_safetensors(tmp_path, name):
    path = tmp_path / "x.safetensors"
    content, why = DAMAGED[name]
    path.write_bytes(content)
    with pytest.raises(InputError, match="expected a sound safetensors file, got") as caught:
        own.read(path)
    assert re.search(why, str(caught.value), re.IGNORECASE)
    assert len(str(caught.value)) - len(str(path)) < 300
    assert "\n" not in str(caught.value)


def test_safetensors_cut_anywhere(tmp_path):
    path = tmp_path / "x.safetensors"
    own.write(path, ARRAYS, {})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            own.read(path)


def test_memory_is_bounded_by_the_file(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(container({"a": entry((1 << 40,), (0, 1 << 42))}, bytes(8)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(20):
        with pytest.raises(InputError):
            own.read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_files_that_cannot_be_opened_or_written(tmp_path):
    for path in (tmp_path, tmp_path / "none.safetensors"):
        with pytest.raises(InputError, match=r"got .*: (Is a directory|No such file)"):
            own.read(path)
    for wrong in (Path("no") / "x.safetensors", Path()):
        with pytest.raises(
            InputError, match=r"expected (a folder that can be written to|the name of a file to write), got "
        ):
            own.write(tmp_path / wrong, ARRAYS, {})
    assert not list(tmp_path.iterdir())


NAMES = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")


def test_files_are_those_of_the_package_to_the_byte(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"{kind}{n}": rng.integers(0, 2, rng.integers(0, 5, n)).astype(kind) for n in (2, 0, 1) for kind in NAMES}
    arrays |= {"\u00e9": np.ones(3, ml_dtypes.bfloat16), 'a"\\\n\x01\x7f': np.ones((2, 3), np.float32).T}
    path = tmp_path / "a.safetensors"
    own.write(path, arrays, {"words": "a \u20ac"})
    text = json.dumps({"metadata": {"words": "a \u20ac"}, "order": list(arrays)})
    dense = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    assert path.read_bytes() == safetensors.numpy.save(dense, {"jaxae": text})


def test_tensors_are_read_one_by_one_also_from_a_file_that_has_gone(tmp_path):
    path = tmp_path / "a.safetensors"
    own.write(path, ARRAYS, {})
    stored, _ = own.open_tensors(path)
    path.unlink()
    check_same({name: one.read() for name, one in stored.items()}, ARRAYS)
    assert stored["b"].shape == (2, 3)
    np.testing.assert_array_equal(np.asarray(stored["b"], np.float32), ARRAYS["b"].astype(np.float32))


def test_a_file_that_is_cut_while_it_is_open_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    own.write(path, ARRAYS, {})
    stored, _ = own.open_tensors(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 4)
    with pytest.raises(InputError, match=r"expected a sound safetensors file, got .*: it ends within '"):
        [one.read() for one in stored.values()]
