"""static/explain.js in a real browser: what the page calls to show why a box was found."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from selenium import webdriver

from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT, Stack
from tests.support.browsing import MISSING, chromium, is_installed
from tests.support.detection_page import LOGS

SCENE = ROOT / "client" / "images" / "scene-08.jpg"
ON = {"EXPLAIN": "true", "REQUEST_TIMEOUT_MS": "120000"}

pytestmark = pytest.mark.skipif(not is_installed(), reason=MISSING)

# The arguments are the picture in base64, its detection and the options.
EXPLAIN = """
const [encoded, detection, options, done] = arguments;
(async () => {
  const { explain } = await import("/static/explain.js");
  const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
  const file = new File([bytes], "scene.jpg", { type: "image/jpeg" });
  try {
    const { url, text, facts } = await explain(file, detection, options);
    const picture = new Image();
    picture.src = url;
    await picture.decode();
    done({ text, facts, size: [picture.naturalWidth, picture.naturalHeight] });
  } catch (error) {
    done({ error: error.message });
  }
})();
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    logs = tmp_path_factory.mktemp("explain")
    with Stack(model=DEMO_MODEL, logs=logs, env={"web": ON, "preprocess": ON}) as running:
        yield running


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile"), LOGS) as running:
        running.set_script_timeout(150)
        yield running


def explain(browser: webdriver.Chrome, url: str, detection: Any, **options: Any) -> dict[str, Any]:
    browser.get(f"{url}/")
    encoded = base64.b64encode(SCENE.read_bytes()).decode()
    result: dict[str, Any] = browser.execute_async_script(EXPLAIN, encoded, detection, options)
    return result


def test_the_script_returns_a_heat_map_and_a_sentence(
    browser: webdriver.Chrome, stack: Stack
) -> None:
    files = {"image": SCENE.read_bytes()}
    found = httpx.post(f"{stack.web.url}/inference", files=files, timeout=60).json()

    explained = explain(browser, stack.web.url, found["data"][0], masks=50)

    assert explained["size"] == [found["image"]["width"], found["image"]["height"]]
    assert "the brightest tenth of the map hidden, the score " in explained["text"]
    assert " s with 50 masks, each of which hides other parts " in explained["text"]
    assert explained["facts"]["label"] == found["data"][0][0]


def test_the_script_says_what_is_wrong(browser: webdriver.Chrome, stack: Stack) -> None:
    explained = explain(browser, stack.web.url, ["unicorn", 1, [50, 50, 20, 20]])

    assert "the model finds no 'unicorn' there" in explained["error"]


def test_the_script_says_where_explanations_are_off(
    browser: webdriver.Chrome, demo_stack: Stack
) -> None:
    explained = explain(browser, demo_stack.web.url, ["cat", 1, [50, 50, 20, 20]])

    assert explained["error"] == "This service explains no detections: EXPLAIN is off."
