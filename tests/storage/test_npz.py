"""Array files of strangers: what is no array of plain values is refused in one line."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jaxae.errors import InputError
from jaxae.storage import npz, safetensors


def npy(header: str, content: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode("latin1")
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + content


def header(shape: str = "(2,)", descr: str = "'<f4'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


BAD = {
    "no magic": (b"hello, world", "magic"),
    "nothing": (b"", "magic"),
    "a version of the future": (npy(header(), b"\0" * 8, b"\x09\x00"), "unknown"),
    "more claimed than held": (npy(header("(1099511627776,)"), b"\0" * 8), "does not hold"),
    "a product beyond 64 bits": (npy(header("(4294967296, 4294967296, 4)"), b"\0" * 8), "does not hold"),
    "less claimed than held": (npy(header("(1,)"), b"\0" * 8), "another number"),
    "a negative length": (npy(header("(-1,)"), b"\0" * 8), "does not hold"),
    "objects": (npy(header(descr="'|O'"), b"\0" * 8), "objects"),
    "a header cut within a token": (npy("{'descr': '''"), "expected a sound"),
    "a header that is no mapping": (npy("[1, 2]\n"), "expected a sound"),
    "a dtype that is none": (npy(header(descr="'<q9'"), b"\0" * 8), "expected a sound"),
    "a dtype of a tuple": (npy(header(descr="('<f4', (2**70,))"), b"\0" * 8), "expected a sound"),
    "items without a size": (npy(header("(1099511627776,)", descr="'|V0'")), "does not hold"),
    "no shape": (npy("{'descr': '<f4', 'fortran_order': False}\n"), "expected a sound"),
    "a shape of strings": (npy(header("('a',)"), b"\0" * 8), "expected a sound"),
}


@pytest.mark.parametrize("packed", [False, True], ids=["npy", "npz"])
@pytest.mark.parametrize(("content", "why"), BAD.values(), ids=BAD)
def test_bad_arrays_are_refused_in_one_line(tmp_path, content, why, packed):
    path = tmp_path / "x.npy"
    if packed:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("images.npy", content)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=why) as caught:
        npz.read(path) if packed else npz.read_npy(path)
    message = str(caught.value)
    assert message.startswith(f"expected a sound .{'npz' if packed else 'npy'} file, got {path}: ")
    assert len(message) < 500
    assert "\n" not in message


def test_what_numpy_writes_is_read(tmp_path):
    arrays = {
        "a": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "empty": np.zeros((0, 4), np.uint8),
        "scalar": np.array(3),
        "text": np.array(["one", "three"]),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **arrays)
        found = npz.read(tmp_path / "x.npz")
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.save(tmp_path / "x.npy", array)
            for one in (found[name], npz.read_npy(tmp_path / "x.npy")):
                assert one.dtype == array.dtype
                np.testing.assert_array_equal(one, array)
                one[...] = one  # its own memory, to be written to


def test_archives_that_are_none_or_unpack_to_too_much(tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InputError, match=r"expected a sound \.npz"):
        npz.read(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.npy", "b.npy"):
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(npy(header(f"({600 << 20},)", "'|u1'")))
                for _ in range(600):
                    member.write(bytes(1 << 20))
    with pytest.raises(InputError, match="far more than its size"):
        npz.read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no array")
    with pytest.raises(InputError, match="magic"):
        npz.read(path)


def test_members_that_numpy_does_not_pack_so(tmp_path):
    content = io.BytesIO()
    np.save(content, np.arange(3))
    for how in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(tmp_path / "x.npz", "w", how) as archive:
            archive.writestr("a.npy", content.getvalue())
        with pytest.raises(InputError, match="packed in a way that NumPy does not"):
            npz.read(tmp_path / "x.npz")


def test_two_members_of_one_name(tmp_path):
    content = io.BytesIO()
    np.save(content, np.arange(3))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", content.getvalue())
        archive.writestr("b.npy", content.getvalue())
    path = tmp_path / "x.npz"
    path.write_bytes(path.read_bytes().replace(b"b.npy", b"a.npy"))
    with pytest.raises(InputError, match="two members of one name"):
        npz.read(path)


@pytest.mark.parametrize("read", [npz.read, npz.read_npy, safetensors.read])
def test_what_is_no_file_is_not_opened(read):
    with pytest.raises(InputError, match="it is a pipe or a device, no file"):
        read(Path("/dev/zero"))
