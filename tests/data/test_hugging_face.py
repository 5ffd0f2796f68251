"""Tables of Hugging Face that do not suit: each is refused in words of its own."""

import io
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jaxae.data.dataset import load
from jaxae.data.formats import hugging_face
from jaxae.errors import InputError

pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "cache"))


def picture(value: int = 0) -> bytes:
    Image.fromarray(np.full((28, 28), value, np.uint8)).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def table(**columns: list[Any]) -> Any:
    return pa.table(
        {"image": pa.array([picture(value) for value in range(4)], pa.binary()), "label": [0, 1] * 2} | columns
    )


def write(folder: Path, tables: Mapping[str, Any]) -> Path:
    for name, one in tables.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(one, folder / f"{name}.parquet")
    return folder


def refusal(function: Callable[[], object]) -> str:
    with pytest.raises(InputError, match=r"^expected [^\n]*, got [^\n]*$") as refused:
        function()
    return str(refused.value)


REFUSED: dict[str, tuple[Callable[[], Mapping[str, Any]], str]] = {
    "no rows": (lambda: {"train": table().slice(0, 0)}, "expected rows of images in {0}, got none"),
    "two sets": (
        lambda: {"cats/train": table(), "dogs/train": table()},
        "expected the files of one data set in {0}, got those of 'cats', 'dogs': name one's folder",
    ),
    "no train split": (
        lambda: {"test": table(), "validation": table()},
        "expected files of a train split in {0}, got those of test, val alone",
    ),
    "no labels": (
        lambda: {"train": table().drop_columns(["label"])},
        "expected a column of images and one called label, labels, fine_label, class, target, digit, character"
        " in {0}/train.parquet, got image of binary",
    ),
    "no picture": (
        lambda: {"train": table(image=pa.array([None] * 4, pa.binary()))},
        "expected the bytes of a picture and a label in each row of {0}/train.parquet, got others",
    ),
    "no label": (
        lambda: {"train": table(label=[0.5] * 4)},
        "expected the bytes of a picture and a label in each row of {0}/train.parquet, got others",
    ),
    "a label below 0": (
        lambda: {"train": table(label=[0, 1, -1, 0])},
        "expected labels from 0 on in {0}/train.parquet, got -1",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_tables_that_do_not_suit_are_refused(case: str, tmp_path: Path) -> None:
    tables, told = REFUSED[case]
    assert refusal(lambda: load(write(tmp_path / "data", tables()))) == told.format(tmp_path / "data")


def test_a_table_that_unpacks_to_more_than_its_size_allows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "data", {"train": table()})
    assert len(load(folder, test_share=0.5).train.labels) == 2
    monkeypatch.setattr(hugging_face, "_SMALL", 1)
    monkeypatch.setattr(hugging_face, "_LARGEST_RATIO", 0)
    told = f"expected parquet that unpacks to no more than its size allows, got {folder}/train.parquet"
    assert refusal(lambda: load(folder)) == told


def test_a_note_that_names_no_classes_is_passed_over(tmp_path: Path) -> None:
    for note in ("[" * 100_000, "{", "{}", "[]", '{"info": 3}', '{"info": {"features": {"label": {"names": 3}}}}'):
        folder = write(tmp_path / "data", {"train": table().replace_schema_metadata({"huggingface": note})})
        assert load(folder).class_names == ()


def test_a_data_set_of_the_hub_without_parquet_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = ModuleType("huggingface_hub")
    vars(hub)["snapshot_download"] = lambda *_, **__: str(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert refusal(lambda: load("hf:a/b")) == "expected parquet files in a/b of the hub, got none"
