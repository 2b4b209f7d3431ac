"""The page without a mouse, for screen readers, and its small parts on their own."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from elastic_yolo.lab.processes.stack import ROOT
from tests.support.browsing import AXE, MISSING, is_installed, serious_violations
from tests.support.detection_page import DetectionPage

PICTURE = ROOT / "client" / "images" / "scene-01.jpg"
_MOST_TABS = 60

pytestmark = pytest.mark.skipif(not is_installed(), reason=MISSING)


@pytest.mark.skipif(not AXE.exists(), reason='axe-core is missing: run "make browser"')
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_serious(page: DetectionPage, theme: str, width: int) -> None:
    """Before the first picture, with a result, with a gallery, and with a problem."""
    page.resize(width, 900)
    Select(page.find("#theme")).select_by_value(theme)
    found = serious_violations(page.driver)
    page.detect(PICTURE)
    for details in page.find_all("details summary"):
        details.click()
    found += serious_violations(page.driver)
    page.choose(ROOT / "README.md", PICTURE)
    page.wait_said("2 pictures done, 1 failed")
    page.find_all("#thumbs button")[1].click()
    page.wait("!document.getElementById('problem').hidden")
    found += serious_violations(page.driver)

    assert found == []


def test_everything_can_be_done_with_the_keyboard(page: DetectionPage) -> None:
    """From a sample to a row of the table, the slider and a class."""
    press(page, Keys.TAB)
    assert page.driver.switch_to.active_element.text == "Skip to the picture"
    tab_to(page, "#samples button")
    press(page, Keys.ENTER)
    page.wait_said("found by")
    before = page.drawn()

    tab_to(page, "#threshold")
    press(page, Keys.ARROW_RIGHT)
    assert page.text("#threshold-value") == "0.51"
    tab_to(page, "#classes input")
    press(page, Keys.SPACE)
    assert (page.drawn() != before).any()
    tab_to(page, "#found tbody button")
    (active,) = page.find_all("#found tr.active")
    assert active == page.find("#found tbody tr")
    tab_to(page, "details summary")
    press(page, Keys.ENTER)
    assert page.find("details[open]")


def press(page: DetectionPage, key: str) -> None:
    ActionChains(page.driver).send_keys(key).perform()


def tab_to(page: DetectionPage, selector: str) -> None:
    for _ in range(_MOST_TABS):
        press(page, Keys.TAB)
        if page.driver.execute_script(
            "return document.activeElement.matches(arguments[0])", selector
        ):
            return
    pytest.fail(f"no stop at {selector}")


def test_the_status_and_problems_are_announced(page: DetectionPage) -> None:
    assert page.find("#said").get_attribute("role") == "status"
    assert page.find("#problem").get_attribute("role") == "alert"
    page.detect(PICTURE)
    assert page.find("#boxes").get_attribute("aria-label").startswith("5 boxes: airplane")


def label_places(
    page: DetectionPage, boxes: list[dict[str, float]], width: float, height: float
) -> list[dict[str, float]]:
    sizes = [{"w": 90, "h": 18}] * len(boxes)
    bounds = {"w": width, "h": height}
    places = page.call_module("labels.js", "placeLabels", boxes, sizes, bounds)
    return [{**place, "w": 90, "h": 18} for place in places]


def overlap(a: dict[str, float], b: dict[str, float]) -> float:
    width = min(a["x"] + a["w"], b["x"] + b["w"]) - max(a["x"], b["x"])
    height = min(a["y"] + a["h"], b["y"] + b["h"]) - max(a["y"], b["y"])
    return max(0.0, width) * max(0.0, height)


@pytest.mark.parametrize(
    ("x", "y"), [(200, 200), (200, 0), (0, 0), (0, 200), (372, 272), (200, 272), (372, 0)]
)
def test_a_small_box_is_not_under_its_label(page: DetectionPage, x: int, y: int) -> None:
    """A kite of 28 pixels, in the middle, at each edge and in corners."""
    kite: dict[str, float] = {"x": x, "y": y, "w": 28, "h": 28}

    (label,) = label_places(page, [kite], 400, 300)

    assert overlap(label, kite) == 0
    assert 0 <= label["x"] <= 400 - 90
    assert 0 <= label["y"] <= 300 - 18


def test_labels_keep_off_small_boxes_and_each_other(page: DetectionPage) -> None:
    """With room, in many random scenes of a few objects."""
    covered = 0.0
    scenes = 100
    generator = random.Random(22)  # noqa: S311
    for _ in range(scenes):
        cells = generator.sample([(x, y) for x in range(5) for y in range(5)], 6)
        boxes: list[dict[str, float]] = [
            {
                "x": 200 * x + generator.uniform(0, 60),
                "y": 120 * y + generator.uniform(0, 60),
                "w": generator.uniform(10, 48),
                "h": generator.uniform(10, 48),
            }
            for x, y in cells
        ]
        labels = label_places(page, boxes, 1000, 600)
        for number, label in enumerate(labels):
            covered += sum(overlap(label, box) for box in boxes)
            covered += sum(overlap(label, other) for other in labels[:number])

    assert covered == 0


def test_a_large_object_at_the_upper_edge_has_its_label_inside(page: DetectionPage) -> None:
    (label,) = label_places(page, [{"x": 10, "y": 4, "w": 300, "h": 250}], 400, 300)

    assert (label["x"], label["y"]) == (10, 4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", "curl -F image=@a.jpg http://host/inference"),
        ("it's.jpg", "curl -F 'image=@\"it'\\''s.jpg\"' http://host/inference"),
        ("a;b,c.jpg", "curl -F 'image=@\"a;b,c.jpg\"' http://host/inference"),
        ('a"\\.jpg', 'curl -F \'image=@"a\\"\\\\.jpg"\' http://host/inference'),
        ("$(reboot).jpg", "curl -F 'image=@\"$(reboot).jpg\"' http://host/inference"),
        ("-", "curl -F image=@./- http://host/inference"),
    ],
)
def test_a_name_cannot_end_the_shown_command(page: DetectionPage, name: str, expected: str) -> None:
    shown = page.call_module("snippets.js", "makeSnippets", name, {}, {"model": ""})

    assert shown["curl"] == expected.replace("http://host", page.url)


@pytest.mark.parametrize(
    "name", ["-", "<a.jpg", "@a.jpg", "-a.jpg", "a.jpg;type=text", 'a"\\,b.jpg', "ä 'b'.jpg"]
)
def test_the_shown_command_sends_the_file_of_any_name(
    page: DetectionPage, tmp_path: Path, name: str
) -> None:
    shutil.copy(PICTURE, tmp_path / name)
    shown = page.call_module("snippets.js", "makeSnippets", name, {}, {"model": ""})

    ran = subprocess.run(
        ["/bin/bash", "-c", shown["curl"]],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )

    assert len(json.loads(ran.stdout)["data"]) == 5


@pytest.mark.parametrize(
    ("status", "may"),
    [
        (0, True),
        (-1, False),
        (400, False),
        (413, False),
        (415, False),
        (422, False),
        (429, True),
        (500, True),
        (503, True),
        (504, True),
    ],
)
def test_only_what_may_succeed_later_is_offered_again(
    page: DetectionPage, status: int, may: bool
) -> None:
    assert page.call_module("problems.js", "mayRetry", {"status": status}) is may


def test_server_timing_is_read_with_its_descriptions(page: DetectionPage) -> None:
    entries = page.driver.execute_async_script(
        "const [header, done] = arguments;"
        "import(`${location.origin}/static/service.js`)"
        ".then(({parseServerTiming}) => done([...parseServerTiming(header)]));",
        'web;dur=1.50;desc="web-a + web-b", decode_queue;dur=0.02, engine;dur=9;desc="onnx int8"',
    )

    assert entries == [
        ["web", {"ms": 1.5, "description": "web-a + web-b"}],
        ["decode_queue", {"ms": 0.02, "description": ""}],
        ["engine", {"ms": 9, "description": "onnx int8"}],
    ]


@pytest.mark.parametrize(
    ("problem", "seconds"),
    [
        ({"status": 429, "retryAfter": 3}, 3),
        ({"status": 503, "retryAfter": None}, 1),
        ({"status": 429, "retryAfter": 86_000}, None),
        ({"status": 504, "retryAfter": 1}, None),
        ({"status": 0}, None),
    ],
)
def test_only_what_will_end_soon_is_waited_for(
    page: DetectionPage, problem: dict[str, Any], seconds: int | None
) -> None:
    assert page.call_module("problems.js", "secondsToWait", problem) == seconds
