"""The page of a model: its numbers are JAX's, and it does what is pressed, dragged and drawn."""

import base64
import json
import re
import shutil
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from jaxae import CONV_VAE, DENSE_VAE, InputError, RunConfig, load, load_pretrained, parameters_of, save_weights
from jaxae.data.dataset import Dataset, Split
from jaxae.network.models import Autoencoder, build
from jaxae.usecases.explore import explore
from jaxae.usecases.explore.explore import ExploreSettings, page_of, run

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
needs_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver here")
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """Pages of the models that come with the package, of few images."""
    folder = tmp_path_factory.mktemp("pages")
    names = ("ae-mnist", "cvae-mnist", "cvae-11-mnist", "vae-2d-mnist")
    for name in names:
        run(ExploreSettings(pretrained=name, out=folder / name, images=60))
    return {name: folder / name for name in names}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1100"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def open_page(browser: Any, path: Path) -> None:
    """Open a page, and wait until it has run: now and then the driver is back before."""
    browser.get(path.as_uri())
    ready = "return document.readyState === 'complete' && typeof state !== 'undefined'"
    while not browser.execute_script(ready):
        time.sleep(0.05)


def pixels_of(browser: Any, canvas: str) -> np.ndarray:
    """What is on a canvas, [h, w, 4]."""
    script = (
        "const c = document.getElementById(arguments[0]);"
        "return [c.height, c.width, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]"
    )
    height, width, data = browser.execute_script(script, canvas)
    return np.array(data, np.uint8).reshape(height, width, 4)


def complaints(browser: Any) -> list[dict[str, Any]]:
    """What the console says; but that reading canvases, as is done here, could be faster."""
    return [one for one in browser.get_log("browser") if one["source"] != "rendering"]


def floats(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


@needs_browser
@pytest.mark.parametrize("name", ["ae-mnist", "cvae-mnist", "cvae-11-mnist", "vae-2d-mnist"])
def test_the_networks_in_the_browser_compute_jaxs_numbers(name, pages, browser):
    open_page(browser, pages[name] / "index.html")
    model: Any = load_pretrained(name)
    test = load("mnist").test
    image, label = test.images[7:8].astype(np.float32) / 255, test.labels[7:8]
    with jax.default_matmul_precision("highest"):
        if isinstance(model, Autoencoder):
            code = np.asarray(model.encode(image))
            picture = np.asarray(model.decode(code))
        else:
            given = [label] if model.config.num_classes else []
            code = np.asarray(model.encode(image, *given)[0])
            picture = np.asarray(model.decode(code, *given))[..., :1]
    found = browser.execute_script(
        "const x = Float32Array.from(arguments[0]);"
        "const code = network.encode(x, arguments[1]);"
        "return [[...code], [...network.decode(Float32Array.from(arguments[2]), arguments[1])]]",
        image.ravel().tolist(),
        int(label[0]),
        code.ravel().tolist(),
    )
    np.testing.assert_allclose(found[0], code.ravel(), atol=1e-5 * max(1, np.abs(code).max()))
    np.testing.assert_allclose(found[1], picture.ravel(), atol=1e-5)
    browser.execute_script("goTo(Float32Array.from(arguments[0]), arguments[1])", code.ravel().tolist(), int(label[0]))
    shown = pixels_of(browser, "decoded")[..., 0]
    assert np.abs(shown - 255 * picture.reshape(28, 28)).max() <= 1
    assert complaints(browser) == []


@needs_browser
@pytest.mark.parametrize("kind", ["dense", "convolutional"])
def test_networks_of_other_kinds_and_shapes(kind, browser, tmp_path):
    config = {
        "dense": DENSE_VAE.replace(num_latent=3, num_classes=2, hidden=(9, 8)),
        "convolutional": CONV_VAE.replace(num_latent=3, num_classes=2, height=9, width=14, widths=(4, 5)),
    }[kind]
    model: Any = build(config.model, rngs=nnx.Rngs(0))
    shape = model.config.image_shape
    images, labels = RNG.integers(0, 256, (8, *shape), np.uint8), np.arange(8) % 2
    data = Dataset("own", Split(images, labels), Split(images, labels), 2, ("left", "right"))
    shutil.copytree(Path(explore.__file__).parent / "page", tmp_path / "page")
    page = json.dumps(page_of("own", config, model, data, 8))
    (tmp_path / "page" / "model.js").write_text(f"window.JAXAE = {page};")
    open_page(browser, tmp_path / "page" / "index.html")
    code = RNG.standard_normal((1, 3)).astype(np.float32)
    found = browser.execute_script(
        "return [[...network.encode(Float32Array.from(arguments[0]), 1)],"
        "[...network.decode(Float32Array.from(arguments[1]), 1)]]",
        (images[0].astype(np.float32) / 255).ravel().tolist(),
        code.ravel().tolist(),
    )
    label = np.array([1])
    np.testing.assert_allclose(found[0], model.encode(images[:1].astype(np.float32) / 255, label)[0].ravel(), atol=1e-5)
    np.testing.assert_allclose(found[1], model.decode(code, label).ravel(), atol=1e-5)
    names = [button.text for button in browser.find_elements("css selector", "#classes button")]
    assert names == ["left", "right"]
    assert complaints(browser) == []


@needs_browser
def test_dragging_keys_and_buttons_change_what_is_decoded(pages, browser):
    from selenium.webdriver import ActionChains, Keys

    open_page(browser, pages["cvae-mnist"] / "index.html")
    seen = [pixels_of(browser, "decoded")]

    def changed() -> bool:
        seen.append(pixels_of(browser, "decoded"))
        return not np.array_equal(seen[-1], seen[-2])

    board = browser.find_element("id", "map")
    ActionChains(browser).move_to_element_with_offset(board, 60, -80).click_and_hold().pause(0.05).perform()
    assert changed()
    ActionChains(browser).move_by_offset(-150, 90).release().perform()
    assert changed()
    board.send_keys(Keys.ARROW_LEFT)
    assert changed()
    for button in (browser.find_element("css selector", "#classes button[data-label='8']"),):
        button.click()
        assert changed()
        assert button.get_attribute("aria-pressed") == "true"
    browser.execute_script(
        "const s = document.querySelector('#sliders input'); s.value = 1.5; s.dispatchEvent(new Event('input'))"
    )
    assert changed()
    browser.execute_script(
        "document.getElementById('way').value = 0.7;document.getElementById('way').dispatchEvent(new Event('input'))"
    )
    assert changed()
    for name, value in (("axis-x", "2"), ("axis-y", "9")):
        before = pixels_of(browser, "map")
        script = (
            "const s = document.getElementById(arguments[0]);"
            "s.value = arguments[1]; s.dispatchEvent(new Event('change'))"
        )
        browser.execute_script(script, name, value)
        assert not np.array_equal(before, pixels_of(browser, "map"))
    assert complaints(browser) == []


@needs_browser
def test_what_is_drawn_is_read(pages, browser):
    from selenium.webdriver import ActionChains

    open_page(browser, pages["vae-2d-mnist"] / "index.html")
    canvas = browser.find_element("id", "drawn")
    side = canvas.size["width"]
    chain = ActionChains(browser).move_to_element_with_offset(canvas, 0, -side // 3).click_and_hold()
    for _ in range(4):
        chain = chain.move_by_offset(0, side // 6)
    chain.release().perform()
    ink = pixels_of(browser, "drawn")[..., 0]
    assert (ink[:, 13] > 200).sum() > 10
    assert (ink[:, 2] == 0).all()
    model: Any = load_pretrained("vae-2d-mnist")
    code = model.encode(ink[None, ..., None].astype(np.float32) / 255)[0]
    found = browser.execute_script("return [...state.code]")
    np.testing.assert_allclose(found, code[0], atol=0.02)  # read off the canvas as whole numbers
    assert len(browser.find_elements("css selector", "#neighbours canvas")) == 5
    told = browser.find_element("id", "score").text
    assert re.match(r"Reconstruction cost \d+ nats: more than \d+ % of the test images have\.", told)
    browser.find_element("id", "clear").click()
    assert pixels_of(browser, "drawn")[..., :3].max() == 0
    assert complaints(browser) == []


@needs_browser
def test_a_phone_has_no_sideways_scrolling(pages, browser):
    browser.set_window_size(500, 900)
    open_page(browser, pages["cvae-mnist"] / "index.html")
    wide, inner = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= inner
    browser.set_window_size(1280, 1100)


def test_a_page_needs_no_network_and_is_small(pages):
    for folder in pages.values():
        assert {path.name for path in folder.iterdir()} == {
            "index.html",
            "page.css",
            "network.js",
            "page.js",
            "model.js",
        }
        text = "".join(path.read_text() for path in folder.iterdir())
        assert "http://" not in text
        assert "https://" not in text
        assert sum(path.stat().st_size for path in folder.iterdir()) < 6_000_000


def test_what_a_page_knows(pages):
    page = json.loads((pages["cvae-mnist"] / "model.js").read_text().removeprefix("window.JAXAE = ").rstrip(";\n"))
    test = load("mnist").test
    model: Any = load_pretrained("cvae-mnist")
    codes = np.asarray(model.encode(test.images[:60].astype(np.float32) / 255, test.labels[:60])[0])
    np.testing.assert_allclose(floats(page["codes"]).reshape(60, 50), codes, atol=1e-4)
    assert base64.b64decode(page["labels"]) == bytes(test.labels[:60].tolist())
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
        ({"pretrained": "ae-mnist", "out": Path(__file__).parent}, "expected "),
    ],
)
def test_what_cannot_be_explored_is_refused(settings, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        run(ExploreSettings(**settings))
    assert not list(tmp_path.iterdir())


def test_a_large_model_makes_no_page(tmp_path):
    config: RunConfig = DENSE_VAE.replace(hidden=(1200, 600))
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config.to_json()))
    save_weights(folder / "weights.safetensors", config, parameters_of(build(config.model, rngs=nnx.Rngs(0))))
    with pytest.raises(InputError, match=r"expected a page of at most 6 MB, got \d+\.\d MB: fewer --images"):
        run(ExploreSettings(run_dir=folder, out=tmp_path / "page", images=5))
    assert not (tmp_path / "page").exists()


def test_serving(pages, monkeypatch, capsys):
    import http.server

    kept: list[Any] = []
    original = http.server.ThreadingHTTPServer.serve_forever
    monkeypatch.setattr(
        "http.server.ThreadingHTTPServer.serve_forever", lambda self: (kept.append(self), original(self, 0.01))[1]
    )
    thread = threading.Thread(target=explore.serve, args=(pages["ae-mnist"], 0), daemon=True)
    thread.start()
    while not kept:
        thread.join(0.01)
    with urllib.request.urlopen(f"http://127.0.0.1:{kept[0].server_port}/index.html", timeout=10) as answer:
        assert b"jaxae explorer" in answer.read()
    with pytest.raises(InputError, match="expected a port that is free, got "):
        explore.serve(pages["ae-mnist"], kept[0].server_port)
    kept[0].shutdown()
    thread.join(10)
