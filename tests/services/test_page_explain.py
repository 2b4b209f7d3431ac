"""The page's "Why?" in a real browser: one explanation at a time; it can be stopped and hidden."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT, Stack
from tests.support.browsing import MISSING, is_installed
from tests.support.detection_page import DetectionPage
from tests.support.versions import sample
from tests.support.waiting import wait_until

SCENE = ROOT / "client" / "images" / "scene-01.jpg"
ON = {"EXPLAIN": "true", "REQUEST_TIMEOUT_MS": "120000"}
FEW, ENDLESS = 60, 5000
# The page asks for the default number of masks, which takes long on a busy machine.
ASK_FOR = """
const [masks] = arguments;
window.plainFetch ??= window.fetch;
window.fetch = (url, options) => {
  const wanted = new URL(url, document.baseURI);
  if (wanted.pathname.endsWith("/explain")) wanted.searchParams.set("masks", masks);
  return window.plainFetch(wanted, options);
};
"""
MAP_IS_SHOWN = "!document.getElementById('heat').hidden && document.getElementById('heat').complete"

pytestmark = pytest.mark.skipif(not is_installed(), reason=MISSING)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    logs = tmp_path_factory.mktemp("explain")
    env = {"web": ON, "preprocess": ON, "inference": {"REQUEST_TIMEOUT_MS": "120000"}}
    with Stack(model=DEMO_MODEL, logs=logs, env=env) as running:
        yield running


@pytest.fixture
def page(browser: object, stack: Stack) -> DetectionPage:
    """The page with a picture whose detections can be explained."""
    opened = DetectionPage(browser, stack.web.url)  # type: ignore[arg-type]
    opened.open()
    opened.detect(SCENE)
    opened.wait("document.querySelector('.explain')")
    return opened


def press(page: DetectionPage, row: int, masks: int) -> None:
    page.driver.execute_script(ASK_FOR, masks)
    page.find_all(".explain")[row].click()


def wait_running(page: DetectionPage, row: int) -> None:
    """Until a row counts seconds."""
    page.wait(f"/^Stop [1-9]/.test(document.querySelectorAll('.explain')[{row}].textContent)")


def states(page: DetectionPage) -> list[tuple[str, str | None, str | None]]:
    """Return name, aria-pressed and aria-busy of each row's button."""
    return [
        (
            button.accessible_name.split(" ")[0],
            button.get_attribute("aria-pressed"),
            row.get_attribute("aria-busy"),
        )
        for row in page.find_all("#found tbody tr")
        for button in row.find_elements("css selector", ".explain")
    ]


IDLE, RUNNING, SHOWN = (
    ("Why?", "false", "false"),
    ("Stop", "false", "true"),
    ("Why?", "true", "false"),
)


def test_the_map_lies_over_the_picture_until_it_is_hidden(page: DetectionPage) -> None:
    said = page.text("#said")

    press(page, 0, FEW)
    page.wait(MAP_IS_SHOWN)
    explained = page.text("#said")
    assert "of the map hidden, the score " in explained
    assert f" s with {FEW} masks, each of which hides other parts of the picture." in explained
    assert page.find("#heat").rect == page.find("#picture").rect
    assert "matters little" in page.find("#legend").text
    assert states(page) == [SHOWN, IDLE, IDLE, IDLE, IDLE]

    page.find(".explain").click()
    assert not page.find("#heat").is_displayed()
    assert not page.find("#legend").is_displayed()
    assert states(page) == [IDLE] * 5
    assert page.text("#said") == said
    assert page.messages() == []


def test_the_map_can_be_hidden_where_it_is_shown(page: DetectionPage) -> None:
    press(page, 0, FEW)
    page.wait(MAP_IS_SHOWN)

    page.find("#heat-hide").click()

    assert not page.find("#heat").is_displayed()
    assert states(page) == [IDLE] * 5


def test_the_picture_is_grey_below_its_map(page: DetectionPage) -> None:
    """A yellow map on a yellow object could not be seen."""
    press(page, 0, FEW)
    page.wait(MAP_IS_SHOWN)
    page.driver.execute_script("document.getElementById('heat').hidden = true")

    shown = page.screenshot("#picture").astype(int)

    # Not where boxes and labels are, which have colours.
    spread = np.sort(np.ptp(shown, axis=2).ravel())
    assert spread[int(0.7 * spread.size)] <= 8
    assert np.median(shown) < 140


def test_another_explanation_takes_the_place_of_the_one_that_runs(page: DetectionPage) -> None:
    """The service makes one at a time, and needs a moment to see that nobody waits."""
    press(page, 0, ENDLESS)
    wait_running(page, 0)
    assert states(page) == [RUNNING, IDLE, IDLE, IDLE, IDLE]

    press(page, 1, FEW)
    page.wait(MAP_IS_SHOWN)

    assert states(page) == [IDLE, SHOWN, IDLE, IDLE, IDLE]
    assert f"{FEW} masks" in page.text("#said")


def test_an_explanation_that_runs_can_be_stopped(page: DetectionPage, stack: Stack) -> None:
    def ended() -> float:
        return sample(stack.preprocess, "elastic_yolo_explanations_total", outcome="failed")

    before, said = ended(), page.text("#said")
    press(page, 1, ENDLESS)
    wait_running(page, 1)
    button = page.find_all(".explain")[1]
    assert button.is_enabled()
    assert button.accessible_name == f"Stop explaining {page.rows()[1][0]}"

    button.click()

    assert states(page) == [IDLE] * 5
    assert page.text("#said") == said
    wait_until(lambda: ended() > before, "preprocess gives it up", 20)
    press(page, 0, FEW)
    page.wait(MAP_IS_SHOWN)


def test_the_slider_changes_nothing_about_an_explanation(page: DetectionPage) -> None:
    """Rows are made anew, while it runs and while its map is shown."""
    press(page, 0, ENDLESS)
    wait_running(page, 0)
    page.set_threshold(0.1)
    assert states(page)[:2] == [RUNNING, IDLE]
    wait_running(page, 0)
    page.find_all(".explain")[0].click()

    press(page, 0, FEW)
    page.set_threshold(0.2)
    page.wait(MAP_IS_SHOWN)
    assert states(page)[:2] == [SHOWN, IDLE]
    page.set_threshold(0.5)
    assert states(page) == [SHOWN, IDLE, IDLE, IDLE, IDLE]


def test_the_whole_picture_is_in_the_window_beside_its_legend(page: DetectionPage) -> None:
    page.resize(1280, 800)
    press(page, 0, FEW)
    page.wait(MAP_IS_SHOWN)

    page.wait("document.getElementById('legend').getBoundingClientRect().bottom <= innerHeight")
