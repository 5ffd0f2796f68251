"""The page of a model: its numbers are JAX's, and it does what is pressed, dragged and drawn."""

import http.server
import json
import re
import shutil
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

from jaxae import AUTOENCODER, CONDITIONAL_VAE, CONV_VAE, DENSE_VAE, InputError, load, load_pretrained, parameters_of
from jaxae.data.dataset import Dataset, Split
from jaxae.network.apply import decode, encode, reconstruct
from jaxae.network.models import build, with_parameters
from jaxae.usecases.explore import explore
from jaxae.usecases.explore.explore import ExploreSettings, page_of, run

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
needs_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver here")
NAMES = ("ae-mnist", "cvae-11-mnist", "cvae-mnist", "vae-2d-mnist", "vae-mnist")
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """Pages of the models that come with the package, of few images."""
    folder = tmp_path_factory.mktemp("pages")
    for name in NAMES:
        run(ExploreSettings(pretrained=name, out=folder / name, images=60))
    return {name: folder / name for name in NAMES}


@pytest.fixture
def served(monkeypatch) -> Iterator[Callable[[Path], str]]:
    """Serve a folder as the command does; its address."""
    kept: list[Any] = []
    threads: list[threading.Thread] = []
    original = http.server.ThreadingHTTPServer.serve_forever
    monkeypatch.setattr(
        "http.server.ThreadingHTTPServer.serve_forever", lambda self: (kept.append(self), original(self, 0.01))[1]
    )

    def start(folder: Path) -> str:
        threads.append(threading.Thread(target=explore.serve, args=(folder, 0), daemon=True))
        threads[-1].start()
        while len(kept) < len(threads):
            threads[-1].join(0.01)
            assert threads[-1].is_alive()
        return f"http://127.0.0.1:{kept[-1].server_port}/index.html"

    yield start
    for server, thread in zip(kept, threads, strict=True):
        server.shutdown()
        thread.join(10)


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


def pixels_of(browser: Any, canvas: str) -> np.ndarray:
    """What is on a canvas, [h, w, 4]."""
    script = (
        "const c = document.getElementById(arguments[0]);"
        "return [c.height, c.width, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]"
    )
    height, width, data = browser.execute_script(script, canvas)
    return np.array(data, np.uint8).reshape(height, width, 4)


def open_page(browser: Any, folder: Path) -> None:
    """Open a page whose scripts have run; if they do not, what the console says is told."""
    browser.get((folder / "index.html").as_uri())  # comes back, now and then, while the page still loads
    for _ in range(100):
        if browser.execute_script("return document.readyState === 'complete' && typeof network === 'object'"):
            return
        time.sleep(0.1)
    pytest.fail(f"the page did not start: {sorted(path.name for path in folder.iterdir())}, {complaints(browser)}")


def complaints(browser: Any) -> list[dict[str, Any]]:
    """What the console says; but that reading canvases, as is done here, could be faster."""
    return [one for one in browser.get_log("browser") if one["source"] != "rendering"]


def in_the_browser(browser: Any, image: np.ndarray, code: np.ndarray, label: Any) -> tuple[np.ndarray, np.ndarray]:
    """The code of a uint8 image and the pixels of a code, as the page computes them."""
    found = browser.execute_script(
        "return [[...network.encode(Float32Array.from(arguments[0]), arguments[2])],"
        "[...network.decode(Float32Array.from(arguments[1]), arguments[2])]]",
        (image.astype(np.float32) / 255).ravel().tolist(),
        code.ravel().tolist(),
        int(label),
    )
    return np.array(found[0]), np.array(found[1])


@needs_browser
@pytest.mark.parametrize("name", NAMES)
def test_the_networks_in_the_browser_compute_jaxs_numbers(name, pages, browser):
    open_page(browser, pages[name])
    model: Any = load_pretrained(name)
    images, labels = (part[:12] for part in (load("mnist").test.images, load("mnist").test.labels))
    codes = encode(model, images, labels)
    pictures = decode(model, codes, labels).reshape(12, -1)
    found = [in_the_browser(browser, *one) for one in zip(images, codes, labels, strict=True)]
    np.testing.assert_allclose([code for code, _ in found], codes, atol=1e-5 * max(1, np.abs(codes).max()))
    gaps = np.abs([pixels for _, pixels in found] - pictures)
    # Of 100 images, largest: 6.2e-5 with 24 of 78,400 pixels above 1e-5 (cvae-11-mnist, whose numbers of JAX are 6.1e-5
    # from float64's, the page's 2.1e-5), 1.3e-5 with 4 (cvae-mnist), 1.1e-5 with 1 (vae-mnist).
    assert gaps.max() < 1e-4
    assert (gaps > 1e-5).mean() < 2e-3
    # Another image, and another code, are far off.
    wrong = in_the_browser(browser, images[1], codes[0] + 0.1, labels[0])
    assert np.abs(wrong[0] - codes[0]).max() > 1e-2
    assert np.abs(wrong[1] - pictures[0]).max() > 1e-3
    browser.execute_script("goTo(Float32Array.from(arguments[0]), arguments[1])", codes[7].tolist(), int(labels[7]))
    shown = pixels_of(browser, "decoded")[..., 0]
    assert np.abs(shown - 255 * pictures[7].reshape(28, 28)).max() <= 1
    assert complaints(browser) == []


OTHERS = {
    "dense": DENSE_VAE.replace(num_latent=3, num_classes=2, hidden=(9, 8)),
    "convolutional": CONV_VAE.replace(num_latent=3, num_classes=2, height=9, width=14, channels=3, widths=(4, 5)),
    "deep autoencoder": AUTOENCODER.replace(hidden=(9, 8, 3), activation="tanh"),
    "no last leaky_relu": CONDITIONAL_VAE.replace(output_leaky_relu=False),
}


@needs_browser
@pytest.mark.parametrize("kind", OTHERS)
def test_networks_of_other_kinds_and_shapes(kind, browser, tmp_path):
    config = OTHERS[kind]
    if kind == "no last leaky_relu":
        model: Any = with_parameters(config.model, parameters_of(load_pretrained("cvae-mnist")))
    else:
        model = build(config.model, rngs=nnx.Rngs(0))
    shape = getattr(model.config, "image_shape", (28, 28, 1))
    images, labels = RNG.integers(0, 256, (8, *shape), np.uint8), np.arange(8) % 2
    classes = max(2, getattr(model.config, "num_classes", 0))
    sides = ("left", "right", *map(str, range(2, classes)))
    data = Dataset("own", Split(images, labels), Split(images, labels), classes, sides)
    shutil.copytree(Path(explore.__file__).parent / "page", tmp_path / "page")
    page = json.dumps(page_of("own", config, model, data, 8))
    (tmp_path / "page" / "model.js").write_text(f"window.JAXAE = {page};")
    open_page(browser, tmp_path / "page")
    code = RNG.standard_normal((1, model.config.code_size)).astype(np.float32)
    label = np.array([1])
    found, pixels = in_the_browser(browser, images[:1], code, 1)
    np.testing.assert_allclose(found, encode(model, images[:1], label).ravel(), atol=1e-5)
    np.testing.assert_allclose(pixels, decode(model, code, label).ravel(), atol=1e-5)
    names = [button.text for button in browser.find_elements("css selector", "#classes button")]
    assert names == (list(sides) if getattr(model.config, "num_classes", 0) else [])
    assert [item.text for item in browser.find_elements("css selector", "#legend span")] == ["left", "right"]
    # In colour nothing is drawn, but images are read.
    assert browser.find_element("id", "draw-title").text == ("Read one" if shape[2] == 3 else "Draw one")
    browser.find_element("id", "sample").click()
    assert "nats: above that of" in browser.find_element("id", "score").text
    assert complaints(browser) == []


@needs_browser
def test_dragging_keys_and_buttons_change_what_is_decoded(pages, browser):
    from selenium.webdriver import ActionChains, Keys

    open_page(browser, pages["cvae-mnist"])
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
    button = browser.find_element("css selector", "#classes button[data-label='8']")
    button.click()
    assert changed()
    assert button.get_attribute("aria-pressed") == "true"
    board.send_keys("3")
    assert changed()
    assert browser.execute_script("return state.label") == 3
    browser.execute_script(
        "const s = document.querySelector('#sliders input'); s.value = 1.5; s.dispatchEvent(new Event('input'))"
    )
    assert changed()
    browser.execute_script(
        "document.getElementById('way').value = 0.7;document.getElementById('way').dispatchEvent(new Event('input'))"
    )
    assert changed()
    for name, value in (("axis-x", "2"), ("axis-y", "9")):
        before = browser.execute_script("return map.toDataURL()")
        script = (
            "const s = document.getElementById(arguments[0]);"
            "s.value = arguments[1]; s.dispatchEvent(new Event('change'))"
        )
        browser.execute_script(script, name, value)
        assert browser.execute_script("return map.toDataURL()") != before
    assert complaints(browser) == []


@needs_browser
def test_the_ring_stays_on_the_map(pages, browser):
    from selenium.webdriver import ActionChains, Keys

    open_page(browser, pages["cvae-mnist"])
    board = browser.find_element("id", "map")
    ActionChains(browser).move_to_element(board).click_and_hold().move_by_offset(board.size["width"], 0).perform()
    ActionChains(browser).release().perform()
    for key in (None, Keys.SHIFT + Keys.ARROW_RIGHT):  # by the pointer, then by a key
        if key:
            board.send_keys(key)
        across, right = browser.execute_script("return [along(state.code, state.x), bounds.right]")
        assert across == pytest.approx(right, abs=1e-4)
    assert f"principal 1 {across:.2f}" in browser.find_element("id", "position").text


@needs_browser
def test_a_dot_shows_its_image_and_class(pages, browser):
    from selenium.webdriver import ActionChains

    open_page(browser, pages["vae-2d-mnist"])
    board = browser.find_element("id", "map")
    x, y = browser.execute_script("return toScreen(points[7]).map((at) => at / (window.devicePixelRatio || 1))")
    width, height = board.size["width"], board.size["height"]
    ActionChains(browser).move_to_element_with_offset(board, round(x - width / 2), round(y - height / 2)).perform()
    test = load("mnist").test
    assert browser.find_element("id", "hover-name").text == f"class {test.labels[7]}"
    assert np.array_equal(pixels_of(browser, "thumbnail")[..., 0], test.images[7, ..., 0])


@needs_browser
def test_the_way_between_two_images_plays(pages, browser):
    from selenium.webdriver.support.ui import WebDriverWait

    open_page(browser, pages["ae-mnist"])
    play = browser.find_element("id", "play")
    play.click()
    assert play.text == "Pause"
    WebDriverWait(browser, 10).until(lambda _: browser.execute_script("return +byId('way').value") > 0.05)
    play.click()
    assert play.text == "Play"
    share, code = browser.execute_script("return [+byId('way').value, [...state.code]]")
    ends = browser.execute_script("return [[...codeAt(state.from)], [...codeAt(state.to)]]")
    # The slider keeps hundredths.
    line = [(1 - share) * np.array(ends[0]) + share * np.array(ends[1])]
    np.testing.assert_allclose([code], line, atol=0.01 * np.abs(np.subtract(*ends)).max())


@needs_browser
def test_what_is_drawn_is_read_as_the_class_that_costs_least(pages, browser):
    open_page(browser, pages["cvae-mnist"])
    image = load("mnist").test.images[7:8]
    model: Any = load_pretrained("cvae-mnist")
    images, pixels = np.repeat(image, 10, 0), image.ravel().astype(np.float32) / 255
    again = np.clip(reconstruct(model, images, np.arange(10)).reshape(10, -1), 1e-7, 1 - 1e-7)
    costs = -(pixels * np.log(again) + (1 - pixels) * np.log1p(-again)).sum(1)
    best = int(costs.argmin())
    browser.execute_script(
        "choose(arguments[1]); drawn.set(arguments[0]); classify()", pixels.tolist(), (best + 1) % 10
    )
    assert browser.execute_script("return state.label") == best
    told = browser.find_element("id", "score").text
    assert told.startswith(f"Reconstruction cost {costs[best]:.0f} nats:")
    assert told.endswith(f"Read as class {best}.")


def test_a_page_is_served(pages, served):
    address = served(pages["ae-mnist"])
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert b"jaxae explorer" in answer.read()
    with pytest.raises(InputError, match="expected a port that is free, got "):
        explore.serve(pages["ae-mnist"], urllib.parse.urlsplit(address).port or 0)


@needs_browser
def test_a_served_page_asks_for_nothing_that_is_not_there(pages, browser, served):
    browser.get(served(pages["ae-mnist"]))
    assert browser.find_element("id", "title").text == "ae-mnist on mnist"
    assert complaints(browser) == []


@needs_browser
def test_what_is_drawn_is_read(pages, browser):
    from selenium.webdriver import ActionChains

    open_page(browser, pages["vae-2d-mnist"])
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
    code = encode(model, ink[None, ..., None])
    found = browser.execute_script("return [...state.code]")
    np.testing.assert_allclose(found, code[0], atol=0.02)  # read off the canvas as whole numbers
    assert len(browser.find_elements("css selector", "#neighbours canvas")) == 5
    told = browser.find_element("id", "score").text
    assert re.match(r"Reconstruction cost \d+ nats: above that of \d+ % of the test images\.", told)
    browser.find_element("id", "clear").click()
    assert pixels_of(browser, "drawn")[..., :3].max() == 0
    assert complaints(browser) == []


@needs_browser
def test_a_phone_has_no_sideways_scrolling(pages, browser):
    browser.set_window_size(500, 900)
    open_page(browser, pages["cvae-mnist"])
    wide, inner = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= inner
    browser.set_window_size(1280, 1100)
