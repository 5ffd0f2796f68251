"""The folder of a page: what is in it, what it replaces, and what makes none. It needs no browser."""

import base64
import errno
import json
import os
import socket
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxae import DENSE_VAE, InputError, RunConfig, load, load_pretrained, parameters_of, save_weights
from jaxae.data.dataset import Dataset, Split
from jaxae.network.apply import encode
from jaxae.network.models import build
from jaxae.usecases.explore import explore
from jaxae.usecases.explore.explore import ExploreSettings, page_of, run
from jaxae.usecases.explore.folder import BEGINNING, FILES, MODEL, whole_or_absent_page

DENSE = DENSE_VAE.replace(num_latent=3, num_classes=0, hidden=(9, 8))


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """Pages of two of the models that come with the package."""
    folder = tmp_path_factory.mktemp("pages")
    run(ExploreSettings(pretrained="cvae-mnist", out=folder / "cvae-mnist", images=60))
    run(ExploreSettings(pretrained="ae-mnist", out=folder / "ae-mnist"))
    return {name: folder / name for name in ("cvae-mnist", "ae-mnist")}


def floats(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


def test_a_page_needs_no_network_and_is_small(pages):
    for folder in pages.values():
        assert {path.name for path in folder.iterdir()} == {*FILES, MODEL}
        text = "".join(path.read_text() for path in folder.iterdir())
        assert "http://" not in text
        assert "https://" not in text
        assert sum(path.stat().st_size for path in folder.iterdir()) < 6_000_000


def test_what_a_page_knows(pages):
    page = json.loads((pages["cvae-mnist"] / "model.js").read_text().removeprefix(BEGINNING).rstrip(";\n"))
    test = load("mnist").test
    model: Any = load_pretrained("cvae-mnist")
    codes = encode(model, test.images[:60], test.labels[:60])
    np.testing.assert_allclose(floats(page["codes"]).reshape(60, 50), codes, atol=1e-4)
    assert page["labels"] == test.labels[:60].tolist()
    assert (np.frombuffer(base64.b64decode(page["images"]), np.uint8) == test.images[:60].ravel()).all()
    directions = floats(page["components"]).reshape(-1, 50)
    np.testing.assert_allclose(directions @ directions.T, np.eye(8), atol=1e-5)
    variances = ((codes - codes.mean(0)) @ directions.T).var(0)
    assert (np.diff(variances) < 1e-5).all()
    assert floats(page["weights"]).size > 40_000


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "expected --run-dir or --pretrained, got both or neither"),
        ({"pretrained": "cvae"}, "expected a pretrained model of "),
        ({"run_dir": Path("nowhere")}, "expected a run directory with a config.json, got no "),
        ({"pretrained": "ae-mnist", "out": Path("../others/a.txt")}, "expected the name of a new folder, got "),
        ({"pretrained": "ae-mnist", "out": Path("../others")}, "expected a new or empty folder, or an earlier "),
        ({"pretrained": "ae-mnist", "out": Path()}, "expected another folder than the one this is run in, got "),
    ],
)
def test_what_cannot_be_explored_is_refused(settings, message, tmp_path, monkeypatch):
    here, others = tmp_path / "here", tmp_path / "others"
    here.mkdir()
    others.mkdir()
    (others / "a.txt").write_text("my own")
    monkeypatch.chdir(here)
    with pytest.raises(InputError, match=message):
        run(ExploreSettings(**settings))
    assert not list(here.iterdir())
    assert [path.read_text() for path in others.iterdir()] == ["my own"]


def test_a_page_takes_the_place_of_an_earlier_one_and_of_an_empty_folder(tmp_path):
    folder = tmp_path / "page"
    folder.mkdir()
    for images in (3, 5):
        run(ExploreSettings(pretrained="ae-mnist", out=folder, images=images))
        page = json.loads((folder / MODEL).read_text().removeprefix(BEGINNING).rstrip(";\n"))
        assert len(page["labels"]) == images
    before = (folder / MODEL).read_bytes()
    # What fails half-way leaves the earlier page.
    with pytest.raises(ZeroDivisionError), whole_or_absent_page(folder) as fresh:
        (fresh / MODEL).write_text(str(1 / 0))
    assert (folder / MODEL).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


@pytest.mark.parametrize("foreign", [{"notes.txt": ""}, {"index.html": "my own"}, {"model.js": "my own"}])
def test_a_folder_of_somebody_else_is_left_alone(foreign, tmp_path, monkeypatch):
    for name, text in foreign.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(explore, "load_run", lambda _: pytest.fail("a model was read first"))
    settings = ExploreSettings(pretrained="ae-mnist", out=tmp_path)
    for write in (lambda: run(settings), whole_or_absent_page(tmp_path).__enter__):
        with pytest.raises(InputError, match="expected a new or empty folder, or an earlier page to replace, got "):
            write()
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == foreign


def failing(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def replace_page(folder: Path) -> None:
    with whole_or_absent_page(folder) as fresh:
        (fresh / MODEL).write_text("")


def test_what_goes_wrong_with_a_folder_is_told_and_leaves_the_earlier_page(tmp_path, monkeypatch):
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / MODEL).write_text(BEGINNING)
    rename = Path.rename

    def rename_former(self: Path, target: Path) -> Path:
        return failing() or self if self.name == "fresh" else rename(self, target)

    for holder, name, instead, message in (
        (Path, "iterdir", failing, "expected a folder that can be written, got .*: No space left on device"),
        (os, "access", lambda *_: False, f"expected a folder that can be replaced, got .*: {tmp_path} cannot be"),
        (Path, "rename", rename_former, "expected a folder that can be written, got .*: No space left on device"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(holder, name, instead)
            with pytest.raises(InputError, match=message):
                replace_page(folder)
        assert [path.name for path in tmp_path.iterdir()] == ["page"]
        assert (folder / MODEL).read_text() == BEGINNING


def test_a_port_that_is_taken_is_told(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"expected a port that is free, got {port}: Address already in use"):
            explore.serve(tmp_path, port)


def test_labels_of_many_classes_and_numbers_that_are_none():
    model: Any = build(DENSE.model, rngs=nnx.Rngs(0))
    images, labels = np.zeros((4, 28, 28, 1), np.uint8), np.array([0, 1, 256, 299])
    data = Dataset("own", Split(images, labels), Split(images, labels), 300, tuple(map(str, range(300))))
    assert page_of("own", DENSE, model, data, 4)["labels"] == [0, 1, 256, 299]
    for layer, message in (
        (model.dec_linear_1, "expected a model whose reconstructions are finite, got NaN from own"),
        (model.z_mean, "expected codes of finite floats, got NaN"),
    ):
        layer.bias.set_value(jnp.full_like(layer.bias[...], jnp.nan))
        with pytest.raises(InputError, match=message):
            page_of("own", DENSE, model, data, 4)


def test_many_images_make_no_page(tmp_path, monkeypatch):
    monkeypatch.setattr(explore, "_LARGEST", explore._encoded_size(load_pretrained("ae-mnist")))
    with pytest.raises(InputError, match=r"expected a page of at most 6 MB, got \d+\.\d MB: fewer --images"):
        run(ExploreSettings(pretrained="ae-mnist", out=tmp_path / "page", images=3))
    assert not (tmp_path / "page").exists()


def test_a_large_model_makes_no_page(tmp_path):
    config: RunConfig = DENSE_VAE.replace(hidden=(1200,))
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config.to_json()))
    save_weights(folder / "weights.safetensors", config, parameters_of(build(config.model, rngs=nnx.Rngs(0))))
    # Before data are read: there are none.
    with pytest.raises(InputError, match=r"expected a page of at most 6 MB, got \d+\.\d MB: fewer --images"):
        run(ExploreSettings(run_dir=folder, out=tmp_path / "page", data=str(tmp_path / "nowhere")))
    assert not (tmp_path / "page").exists()
