"""Files of flax's msgpack: what each refusal says."""

from pathlib import Path

import msgpack
import pytest

from jaxae.errors import InputError
from jaxae.storage.msgpack import read


def array(shape: list[int], dtype: str) -> msgpack.ExtType:
    return msgpack.ExtType(1, msgpack.packb([shape, dtype, b"12345678"]))


REFUSED = {
    "two entries of one name": b"\x82\xa1a\x01\xa1a\x01",
    "an entry whose name is no text": msgpack.packb({b"a": 1}),
    "an array of O": msgpack.packb({"a": array([1], "O")}),
    "an extension 7 that flax does not write": msgpack.packb({"a": msgpack.ExtType(7, b"x")}),
    "2 elements for an array [3]": msgpack.packb({"a": array([3], "float32")}),
    "2 elements for an array [-1]": msgpack.packb({"a": array([-1], "float32")}),
    "2 elements for an array [-1, -2]": msgpack.packb({"a": array([-1, -2], "float32")}),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_flax_does_not_write_is_refused(reason: str, tmp_path: Path) -> None:
    path = tmp_path / "x.msgpack"
    path.write_bytes(REFUSED[reason])
    with pytest.raises(InputError) as refused:
        read(path)
    assert str(refused.value) == f"expected a sound msgpack file of flax, got {path}: {reason}"


def test_no_file_and_no_dict_are_told(tmp_path: Path) -> None:
    path = tmp_path / "x.msgpack"
    with pytest.raises(InputError, match=r"^expected a msgpack file, got .*x.msgpack: No such file or directory$"):
        read(path)
    path.write_bytes(b"\x91\x01")
    with pytest.raises(InputError, match=r"^expected a msgpack file of flax that holds a dict, got .* with a list$"):
        read(path)
