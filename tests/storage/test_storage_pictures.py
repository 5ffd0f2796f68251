"""Picture files as they are opened: what is damaged, and what is refused within."""

import io
from pathlib import Path

import pytest
from PIL import Image

from jaxae.errors import InputError
from jaxae.storage.pictures import open_picture


def test_no_picture_is_told_by_its_name(tmp_path: Path) -> None:
    for source, name, told in ((tmp_path / "a.png", "", str(tmp_path / "a.png")), (b"x", "row 3", "row 3")):
        with pytest.raises(InputError) as refused, open_picture(source, name):
            pass
        assert str(refused.value).startswith(f"expected an image file, got {told}: ")


def test_a_refusal_of_what_a_picture_holds_is_left_as_it_is() -> None:
    content = io.BytesIO()
    Image.new("L", (2, 2)).save(content, "png")
    with pytest.raises(InputError, match=r"^expected colours, got L$"), open_picture(content.getvalue()) as picture:
        raise InputError(f"expected colours, got {picture.mode}")
