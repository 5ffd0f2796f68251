"""Folders of Orbax that are none, hold other trees, or far more than their size."""

import shutil
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

from jaxae.errors import InputError
from jaxae.storage import orbax_folder

TREES = {"a dict": {"a": np.ones(2)}, "a list": [np.ones(2)]}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("orbax")
    with ocp.PyTreeCheckpointer(use_ocdbt=False) as checkpointer:
        for name, tree in TREES.items():
            checkpointer.save(folder / name, tree)
    return {name: folder / name for name in TREES}


def refusal(path: Path) -> str:
    with pytest.raises(InputError, match=r"^expected [^\n]*, got [^\n]*$") as refused:
        orbax_folder.read(path)
    return str(refused.value)


def test_a_tree_that_is_no_dict_is_refused(saved: dict[str, Path]) -> None:
    assert refusal(saved["a list"]) == (
        f"expected a folder of Orbax that holds a dict, got {saved['a list']} with a list"
    )


def test_a_step_of_several_trees_or_of_none_is_refused(saved: dict[str, Path], tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"expected one tree of arrays in Orbax's folder {tmp_path}, got none"
    for name in ("ema", "params"):
        shutil.copytree(saved["a dict"], tmp_path / name)
    assert refusal(tmp_path).endswith("got several, ema, params: name one")
    shutil.rmtree(tmp_path / "ema")
    np.testing.assert_array_equal(orbax_folder.read(tmp_path)["a"], np.ones(2))


def test_a_tree_that_unpacks_to_far_more_than_its_size_is_refused(
    saved: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    np.testing.assert_array_equal(orbax_folder.read(saved["a dict"])["a"], np.ones(2))
    monkeypatch.setattr(orbax_folder, "_SMALL", 15)
    monkeypatch.setattr(orbax_folder, "_LARGEST_RATIO", 0)
    assert refusal(saved["a dict"]).endswith(": it unpacks to far more than its size")
