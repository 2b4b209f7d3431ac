"""The page in a real browser: choose a picture, see boxes and a table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from elastic_yolo.lab.processes.stack import ROOT, Stack
from tests.support.browsing import MISSING, chromium, is_installed

PICTURE = ROOT / "client" / "images" / "scene-01.jpg"

pytestmark = pytest.mark.skipif(not is_installed(), reason=MISSING)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def page(browser: webdriver.Chrome, demo_stack: Stack) -> webdriver.Chrome:
    browser.get_log("browser")  # clears the messages of earlier tests
    browser.get(f"{demo_stack.web.url}/")
    return browser


def choose(page: webdriver.Chrome, file: Path, expected: str) -> str:
    """Choose a file and return the page's message, once it contains `expected`."""
    page.find_element(By.ID, "file").send_keys(str(file))
    WebDriverWait(page, 30).until(lambda p: expected in p.find_element(By.ID, "said").text)
    return page.find_element(By.ID, "said").text


def test_the_page_shows_a_picture_its_boxes_and_a_table(
    page: webdriver.Chrome, web: httpx.Client
) -> None:
    expected = web.post("/inference", files={"image": PICTURE.read_bytes()}).json()["data"]

    said = choose(page, PICTURE, "found by")

    assert said.startswith(f"{len(expected)} found by yolov3-tiny-emoji in ")
    rows = page.find_elements(By.CSS_SELECTOR, "#found tbody tr")
    cells = [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows]
    assert [row[:2] for row in cells] == [[label, f"{score:.3f}"] for label, score, _ in expected]
    painted = page.execute_script(
        "const c = document.getElementById('boxes');"
        "return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v > 0);"
    )
    assert painted
    assert page.find_element(By.ID, "picture").is_displayed()


@pytest.mark.parametrize("name", ["scene-06.webp", "scene-09.jpg", "scene-08.jpg"])
def test_boxes_lie_exactly_over_the_picture(page: webdriver.Chrome, name: str) -> None:
    """Narrower than the page, wider than the page, and rotated by its Exif orientation."""
    choose(page, PICTURE.with_name(name), "found by")

    picture, boxes = (page.find_element(By.ID, part).rect for part in ("picture", "boxes"))

    assert boxes == picture


def test_the_page_explains_a_file_that_is_not_a_picture(
    page: webdriver.Chrome, tmp_path: Path
) -> None:
    file = tmp_path / "page.jpg"
    file.write_text("<html></html>")

    said = choose(page, file, "Unsupported")

    assert said.startswith("Unsupported Media Type: not an accepted picture format")
    assert not page.find_element(By.ID, "view").is_displayed()


def test_the_browser_console_has_no_messages(page: webdriver.Chrome) -> None:
    choose(page, PICTURE, "found by")

    assert page.get_log("browser") == []
