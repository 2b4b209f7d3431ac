"""The page in a real browser on the real services: what it draws, lists, says and sends."""

from __future__ import annotations

import base64
import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image, ImageOps
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.select import Select

from client.truth import MIN_IOU, iou, read_truth
from elastic_yolo.lab.processes.stack import ROOT, Stack
from tests.support.browsing import MISSING, chromium, is_installed
from tests.support.detection_page import LOGS, DetectionPage
from tests.support.pictures import encode, plain, store_turned
from tests.support.tiny import write_tiny_model

SCENES = ROOT / "client" / "images"
PICTURE = SCENES / "scene-01.jpg"
TRUTH = read_truth(SCENES / "truth.json")
STATIC = ROOT / "services" / "web" / "static"
MOST_BYTES = 200_000
# Of an edge that is read from the canvas: it is antialiased.
TOLERANCE_PX = 3
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")

pytestmark = pytest.mark.skipif(not is_installed(), reason=MISSING)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    with chromium(tmp_path_factory.mktemp("profile"), LOGS, CAMERA) as running:
        yield running


def expected_data(web: httpx.Client, picture: bytes) -> list[tuple[str, float, list[float]]]:
    response = web.post("/inference", files={"image": picture})
    return [(label, score, box) for label, score, box in response.json()["data"]]


def test_the_table_has_what_the_service_responds(page: DetectionPage, web: httpx.Client) -> None:
    """The page asks with a low threshold and filters: the result is the same."""
    expected = expected_data(web, PICTURE.read_bytes())

    said = page.detect(PICTURE)

    assert said.startswith(f"{len(expected)} found by yolov3-tiny-emoji in ")
    assert page.rows() == [
        [label, f"{score:.3f}", ", ".join(f"{number:.0f}" for number in box)]
        for label, score, box in expected
    ]


@pytest.mark.parametrize("name", ["scene-01.jpg", "scene-08.jpg", "scene-15.webp"])
def test_boxes_are_drawn_where_the_objects_are(
    page: DetectionPage, web: httpx.Client, name: str
) -> None:
    """Read from the canvas and compared with the ground truth. One picture has an orientation."""
    expected = expected_data(web, (SCENES / name).read_bytes())
    page.detect(SCENES / name)

    drawn = [page.drawn_box(row) for row in range(len(expected))]

    for box, (_, _, answered) in zip(drawn, expected, strict=True):
        assert box == pytest.approx(answered, abs=TOLERANCE_PX)
    labels = [label for label, _, _ in expected]
    found = TRUTH[name].count_found(
        [(label, 1.0, box) for label, box in zip(labels, drawn, strict=True)]
    )
    assert found == TRUTH[name].count_found(expected) > 0


def write_phone_picture(folder: Path) -> Path:
    """A photograph of twelve megapixels, stored as 3000x4000 and upright as 4000x3000."""
    with Image.open(SCENES / "scene-09.jpg") as opened:
        upright = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    path = folder / "phone.jpg"
    path.write_bytes(encode(store_turned(upright, 6), "JPEG", 6, quality=90))
    return path


@pytest.mark.long
@pytest.mark.parametrize("width", [390, 1280])
def test_a_turned_picture_of_twelve_megapixels_has_boxes_and_legible_labels(
    page: DetectionPage, tmp_path: Path, width: int
) -> None:
    page.resize(width, 900)
    page.detect(write_phone_picture(tmp_path))
    page.set_threshold(0.8)
    labels = [row[0] for row in page.rows()]

    box = page.drawn_box(0)

    truth = [placed for label, placed in TRUTH["scene-09.jpg"].objects if label == labels[0]]
    assert max(iou(box, placed) for placed in truth) >= MIN_IOU
    # The label's own height, in CSS pixels: 18, at any size of the picture.
    opaque = page.drawn()[:, :, 3] > 250
    runs = longest_runs(opaque)
    assert 17 in runs or 18 in runs or 19 in runs


def longest_runs(mask: np.ndarray) -> set[int]:
    """Return the lengths of the vertical runs in each column of a mask."""
    lengths: set[int] = set()
    for column in mask.T:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], column.astype(int), [0]])))
        lengths.update(int(length) for length in edges[1::2] - edges[::2])
    return lengths


@pytest.mark.parametrize("name", ["scene-06.webp", "scene-09.jpg", "scene-08.jpg"])
@pytest.mark.parametrize("density", [1, 2])
def test_the_canvas_lies_exactly_over_the_picture_at_any_zoom(
    page: DetectionPage, name: str, density: float
) -> None:
    page.resize(1280, 900, density)
    page.detect(SCENES / name)

    shown: set[str] = set()
    for button in ("#zoom-fit", "#zoom-full", "#zoom-in", "#zoom-out", "#zoom-out"):
        page.find(button).click()
        page.resize(1000 if button == "#zoom-out" else 1280, 900, density)
        picture, boxes = (page.find(part).rect for part in ("#picture", "#boxes"))
        assert boxes == picture
        shown.add(page.text("#zoom"))

    assert "100 %" in shown
    assert len(shown) >= 3


def test_the_canvas_has_a_pixel_for_each_of_the_screen(page: DetectionPage) -> None:
    page.resize(1280, 900, 2)
    page.detect(PICTURE)

    sizes = page.driver.execute_script(
        "const c = document.getElementById('boxes'); return [c.width, c.clientWidth];"
    )
    assert sizes[0] == 2 * sizes[1]


@pytest.mark.parametrize("size", [(1280, 800), (1920, 1080), (390, 844), (844, 390)])
def test_a_picture_that_fits_is_in_the_window_as_a_whole(
    page: DetectionPage, size: tuple[int, int]
) -> None:
    """At first, without scrolling; in a low window at least once it is scrolled to."""
    page.resize(*size)
    square = page.find('[data-sample="sample-3.webp"]')
    page.driver.execute_script("arguments[0].click()", square)
    page.wait_said("found by")
    with_one = visible_part(page)
    page.detect(SCENES / "scene-01.jpg", SCENES / "scene-08.jpg")
    page.wait_said("3 pictures done")
    shown = [with_one]
    for thumb in page.find_all("#thumbs button"):
        page.driver.execute_script("arguments[0].click()", thumb)
        page.wait("document.getElementById('picture').complete")
        shown.append(visible_part(page))

    assert page.find("#zoom-fit").get_attribute("aria-pressed") == "true"
    assert all(part == 1 for part in shown), shown


def visible_part(page: DetectionPage) -> float:
    """Return the part of the picture's height that is in the window."""
    part: float = page.driver.execute_async_script(
        """
        const done = arguments[arguments.length - 1];
        const picture = document.getElementById("picture");
        scrollTo(0, 0);
        if (innerHeight < 500) picture.scrollIntoView({ block: "center" });
        // After the observers of sizes.
        requestAnimationFrame(() => requestAnimationFrame(() => {
          const { top, bottom, height } = picture.getBoundingClientRect();
          done((Math.min(bottom, innerHeight) - Math.max(top, 0)) / height);
        }));
        """
    )
    return part


def test_the_page_is_never_wider_than_a_phone(page: DetectionPage) -> None:
    page.resize(390, 844)
    page.detect(*sorted(SCENES.glob("scene-*"))[:8])

    assert page_width(page) <= 390


def page_width(page: DetectionPage) -> int:
    return int(page.driver.execute_script("return document.documentElement.scrollWidth"))


@pytest.mark.parametrize("width", [390, 1280])
def test_a_long_label_is_wrapped(page: DetectionPage, tmp_path: Path, width: int) -> None:
    model = write_tiny_model(tmp_path / "long")
    (model / "tiny.names").write_text("x" * 200 + "\ncircle\n")
    file = tmp_path / "plain.jpg"
    file.write_bytes(encode(plain(64, 48), "JPEG"))
    with Stack(model=model, logs=tmp_path) as stack:
        opened = DetectionPage(page.driver, stack.web.url)
        opened.open(width, 844)
        opened.detect(file)
        widths = [
            opened.driver.execute_script(
                "const found = document.querySelector(arguments[0]);"
                "return found.scrollWidth - found.clientWidth;",
                selector,
            )
            for selector in ("html", "#classes", "#detections", "#detections .scroll")
        ]

    assert widths == [0, 0, 0, 0]


def test_ctrl_and_wheel_zoom_at_the_pointer(page: DetectionPage) -> None:
    """What is under the pointer stays there."""
    page.detect(SCENES / "scene-12.jpg")

    scale, before, after = page.driver.execute_async_script(
        """
        const done = arguments[arguments.length - 1];
        const frame = document.getElementById("viewport");
        const view = document.getElementById("view");
        const { x, y } = frame.getBoundingClientRect();
        const at = { x: x + 200, y: y + 150 };
        const under = () => {
          const box = view.getBoundingClientRect();
          return [(at.x - box.x) / box.width, (at.y - box.y) / box.height];
        };
        const before = under(), width = view.clientWidth;
        for (const deltaY of [-400, -400]) {
          frame.dispatchEvent(new WheelEvent("wheel", {
            deltaY, ctrlKey: true, clientX: at.x, clientY: at.y, cancelable: true, bubbles: true,
          }));
        }
        done([view.clientWidth / width, before, under()]);
        """
    )

    assert scale > 2
    assert after == pytest.approx(before, abs=0.01)


def test_the_threshold_acts_without_another_request(page: DetectionPage, web: httpx.Client) -> None:
    page.detect(PICTURE)
    page.requested_urls()
    low = web.post("/inference?threshold=0.1", files={"image": PICTURE.read_bytes()}).json()["data"]

    at_first = page.text("#threshold-value")
    page.set_threshold(0.1)
    listed = page.rows()
    page.set_threshold(0.95)
    few = page.rows()
    page.find("#threshold-own").click()

    assert at_first == page.text("#threshold-value") == "0.50"  # stated by the model
    assert [row[0] for row in listed] == [label for label, _, _ in low]
    assert 0 < len(few) < len(page.rows()) < len(listed)
    assert page.requested_urls() == []


def test_the_status_follows_threshold_and_classes(page: DetectionPage) -> None:
    before = page.detect(PICTURE)
    page.set_threshold(0.05)
    rows = page.rows()
    low = page.text("#said")
    alone = next(label for label, _, _ in rows if [row[0] for row in rows].count(label) == 1)
    page.find(f'#classes input[data-label="{alone}"]').click()
    off = page.text("#said")

    assert before.startswith("5 found by yolov3-tiny-emoji in ")
    assert low == before.replace("5", str(len(rows)), 1)
    assert off == f"{low} 1 of them is switched off."
    assert page.text("#shown") == (
        f"Shown: {len(rows) - 1} of {len(rows)} boxes with a score above 0.05"
    )


def test_a_class_has_the_same_colour_on_every_visit(page: DetectionPage) -> None:
    """Whatever was seen before it, in the table, over the picture and in both themes."""
    page.detect(PICTURE)
    first = class_colours(page)
    page.open()
    Select(page.find("#theme")).select_by_value("dark")
    page.detect(SCENES / "scene-03.jpg", PICTURE)
    page.find_all("#thumbs button")[1].click()

    assert class_colours(page) == first
    assert len(set(first.values())) == len(first) == 5


def class_colours(page: DetectionPage) -> dict[str, str]:
    return {
        row.find_element("css selector", "button").text: row.find_element(
            "css selector", ".dot"
        ).value_of_css_property("background-color")
        for row in page.find_all("#found tbody tr")
    }


def test_classes_have_many_colours_on_which_black_is_legible(page: DetectionPage) -> None:
    labels = (ROOT / "elastic_yolo/provision/zoo/entries/coco.names").read_text().split("\n")[:80]

    colours = [page.call_module("colors.js", "colorOf", label) for label in labels]
    contrasts = page.driver.execute_script(
        """
        const pen = document.createElement("canvas").getContext("2d");
        const linear = (value) =>
          value <= 10.31475 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4;
        return arguments[0].map((color) => {
          pen.fillStyle = color;
          pen.fillRect(0, 0, 1, 1);
          const [r, g, b] = [...pen.getImageData(0, 0, 1, 1).data].map(linear);
          return (0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05) / 0.05;
        });
        """,
        colours,
    )

    assert len(set(colours)) >= 20
    assert min(contrasts) > 4.5
    often = ["person", "car", "truck", "bus", "bicycle", "dog", "cat", "bird", "chair"]
    assert len({colours[labels.index(label)] for label in often}) >= len(often) - 1


def test_a_class_can_be_switched_off(page: DetectionPage) -> None:
    page.detect(PICTURE)
    before = page.drawn()
    label = page.rows()[0][0]

    page.find(f'#classes input[data-label="{label}"]').click()
    without = page.drawn()
    rows = page.rows()
    page.find(f'#classes input[data-label="{label}"]').click()

    assert label not in [row[0] for row in rows]
    assert (without != before).any()
    assert (page.drawn() == before).all()


def test_the_pointer_links_box_and_row_both_ways(page: DetectionPage) -> None:
    page.detect(PICTURE)
    plain_drawing = page.drawn()
    cx, cy = (float(number) for number in page.rows()[1][2].split(", ")[:2])
    picture = page.find("#picture")
    scale = picture.rect["width"] / 640
    offset = int((cx - 320) * scale), int((cy - 240) * scale)

    ActionChains(page.driver).move_to_element_with_offset(page.find("#view"), *offset).perform()

    rows = page.find_all("#found tbody tr")
    assert ["active" in (row.get_attribute("class") or "") for row in rows][:3] == [
        False,
        True,
        False,
    ]
    by_pointer = page.drawn()
    assert (by_pointer != plain_drawing).any()
    ActionChains(page.driver).move_to_element(page.find("#total")).perform()
    assert (page.drawn() == plain_drawing).all()
    page.driver.execute_script("arguments[0].querySelector('button').focus()", rows[1])
    assert (page.drawn() == by_pointer).all()


def test_the_table_sorts_by_label_and_by_score(page: DetectionPage) -> None:
    page.detect(PICTURE)
    by_score = page.rows()

    page.find('[data-sort="label"]').click()
    by_label = page.rows()
    page.find('[data-sort="score"]').click()
    page.find('[data-sort="score"]').click()

    assert [row[0] for row in by_label] == sorted(row[0] for row in by_score)
    assert page.rows() == by_score[::-1]
    assert page.find('th[aria-sort="ascending"]').text.startswith("Score")


def test_times_and_processes_are_those_of_the_response(
    page: DetectionPage, demo_stack: Stack
) -> None:
    page.detect(PICTURE)

    shares = [
        float(part.get_attribute("style").partition("flex-grow:")[2].split()[0].rstrip(";"))
        for part in page.find_all("#times span")
    ]
    total = float(page.text("#total").removesuffix(" ms"))
    facts = page.text("#facts")
    assert sum(shares) == pytest.approx(total, rel=0.02)
    assert all(share >= 0 for share in shares)
    for service in (demo_stack.web, demo_stack.preprocess, demo_stack.inference):
        assert f"{service.name}-{service.port}" in facts
    assert "yolov3-tiny-emoji, version 1" in facts
    assert "openvino" in facts
    assert "engine" in page.text("#phases")


def test_a_sample_is_detected_with_one_click(page: DetectionPage) -> None:
    for number, button in enumerate(page.find_all("#samples button"), 1):
        page.driver.execute_script("arguments[0].click()", button)
        page.wait(f"document.querySelectorAll('#thumbs [data-state=done]').length === {number}")
        assert len(page.rows()) >= 3


def test_the_shown_programs_fetch_a_sample_first(page: DetectionPage, tmp_path: Path) -> None:
    page.find('[data-sample="sample-4.webp"]').click()
    page.wait_said("found by")
    for kind in ("curl", "python"):
        page.find(f'[data-text="{kind}"] summary').click()
    shown = {kind: page.text(f'[data-text="{kind}"] pre') for kind in ("curl", "python")}

    command = ["/bin/bash", "-c", shown["curl"]]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    found = json.loads(ran.stdout)["data"]
    output = io.StringIO()
    exec(shown["python"], {"print": lambda data: output.write(json.dumps(data))})  # noqa: S102

    rows = [[label, f"{score:.3f}"] for label, score, _ in found]
    assert rows == [row[:2] for row in page.rows()]
    assert json.loads(output.getvalue()) == found
    assert (tmp_path / "mountains.webp").exists()


@pytest.mark.parametrize("width", [390, 1280])
def test_one_picture_can_be_removed_and_samples_remain(page: DetectionPage, width: int) -> None:
    page.resize(width, 844)
    assert not page.find("#clear").is_displayed()
    page.detect(PICTURE)

    assert page.find("#samples button").is_displayed()
    page.find_all("#samples button")[1].click()
    page.wait_said("2 pictures done")
    page.find("#clear").click()
    page.detect(PICTURE)
    page.find("#clear").click()

    assert not page.find("#result").is_displayed()
    assert not page.find("#clear").is_displayed()


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_webp_is_shown_as_its_orientation_says(
    page: DetectionPage, tmp_path: Path, orientation: int
) -> None:
    """Chromium does not apply it, the service does."""
    upright = np.asarray(Image.open(PICTURE).convert("RGB"))
    file = tmp_path / "turned.webp"
    stored = store_turned(upright, orientation)
    file.write_bytes(encode(stored, "WEBP", orientation, quality=90))
    page.detect(file)

    size, small = page.driver.execute_script(
        """
        const picture = document.getElementById("picture");
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [16, 12];
        const pen = canvas.getContext("2d");
        pen.imageSmoothingQuality = "high";
        pen.drawImage(picture, 0, 0, 16, 12);
        const size = [picture.naturalWidth, picture.naturalHeight];
        return [size, [...pen.getImageData(0, 0, 16, 12).data]];
        """
    )

    assert size == [640, 480]
    drawn = np.array(small).reshape(12, 16, 4)[..., :3]
    expected = np.asarray(Image.fromarray(upright).resize((16, 12), Image.Resampling.BOX))
    assert np.abs(drawn - expected).mean() < 8
    label, _, box = page.rows()[0]
    cx, cy, w, h = (float(number) for number in box.split(", "))
    truth = [placed for name, placed in TRUTH[PICTURE.name].objects if name == label]
    assert max(iou([cx, cy, w, h], placed) for placed in truth) >= MIN_IOU


@pytest.mark.parametrize(("event", "target"), [("paste", "body"), ("drop", "main")])
def test_pictures_can_be_pasted_and_dropped(page: DetectionPage, event: str, target: str) -> None:
    page.give_files(event, target, [PICTURE, SCENES / "scene-03.jpg"])

    page.wait_said("2 pictures done")
    assert page.text("#shown-name") == "scene-01.jpg"


def test_a_picture_can_be_taken_with_the_camera(page: DetectionPage) -> None:
    """Chromium has a camera for tests."""
    page.find("#camera").click()
    page.wait("!document.getElementById('camera-take').disabled")
    page.find("#camera-take").click()

    page.wait_said("found by")

    assert page.text("#shown-name").startswith("camera-")
    assert not page.find("#camera-dialog").is_displayed()


def test_the_same_request_is_shown_as_curl_python_and_json(
    page: DetectionPage, web: httpx.Client, demo_stack: Stack
) -> None:
    page.detect(PICTURE)
    page.set_threshold(0.3)
    for details in page.find_all("[data-text]"):
        details.find_element("tag name", "summary").click()
    shown = {kind: page.text(f'[data-text="{kind}"] pre') for kind in ("curl", "python", "json")}

    url = f"{demo_stack.web.url}/inference?threshold=0.3"
    assert shown["curl"] == f"curl -F image=@scene-01.jpg '{url}'"
    answered = web.post("/inference?threshold=0.3", files={"image": PICTURE.read_bytes()}).json()
    assert json.loads(shown["json"])["data"] == answered["data"]
    assert json.loads(shown["json"])["model"] == answered["model"]
    output = io.StringIO()
    program = shown["python"].replace('"scene-01.jpg"', repr(str(PICTURE)))
    exec(program, {"print": lambda data: output.write(json.dumps(data))})  # noqa: S102  # as shown
    assert json.loads(output.getvalue()) == answered["data"]


def test_the_drawn_picture_is_as_large_as_the_original(page: DetectionPage) -> None:
    page.detect(SCENES / "scene-08.jpg")
    url = page.driver.execute_async_script(
        """
        const done = arguments[arguments.length - 1];
        HTMLAnchorElement.prototype.click = function () {
          fetch(this.href).catch(() => null);
          window.saved = this.download;
        };
        const made = URL.createObjectURL;
        URL.createObjectURL = (blob) => {
          const reader = new FileReader();
          reader.onload = () => done(reader.result);
          reader.readAsDataURL(blob);
          return made(blob);
        };
        document.getElementById("download").click();
        """
    )

    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as picture:
        assert picture.format == "JPEG"
        assert picture.size == (720, 960)  # upright
        drawn = np.asarray(picture)
    with Image.open(SCENES / "scene-08.jpg") as opened:
        original = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    differs = (np.abs(drawn.astype(int) - original).max(axis=2) > 60).mean()
    assert 0.001 < differs < 0.2  # boxes and labels


def test_the_page_is_small_and_asks_no_other_host(page: DetectionPage, demo_stack: Stack) -> None:
    page.detect(PICTURE)
    page.find("#zoom-in").click()

    hosts = {urlsplit(url).netloc or urlsplit(url).scheme for url in page.requested_urls()}
    assert hosts <= {urlsplit(demo_stack.web.url).netloc, "blob", "data"}
    assert page.messages() == []
    assert sum(file.stat().st_size for file in STATIC.iterdir()) < MOST_BYTES


def test_the_theme_is_kept(page: DetectionPage) -> None:
    def background() -> str:
        return str(page.find("body").value_of_css_property("background-color"))

    Select(page.find("#theme")).select_by_value("dark")
    dark = background()
    page.driver.get(f"{page.url}/")

    assert background() == dark
    Select(page.find("#theme")).select_by_value("light")
    assert background() != dark


EVIL = "<img src=x onerror=\"document.title='run'\">"


def test_markup_in_names_labels_and_errors_is_text(page: DetectionPage, tmp_path: Path) -> None:
    """Of a file's name, a label of a model, and what the service says is wrong."""
    model = write_tiny_model(tmp_path / "evil")
    (model / "tiny.names").write_text(f"{EVIL}\ncircle\n")
    file = tmp_path / f"{EVIL}.jpg"
    file.write_bytes(encode(plain(64, 48), "JPEG"))
    with Stack(model=model, logs=tmp_path) as stack:
        opened = DetectionPage(page.driver, stack.web.url)
        opened.open()
        opened.detect(file)
        for details in opened.find_all("[data-text]"):
            details.find_element("tag name", "summary").click()
        listed = opened.rows()
        named = opened.text("#shown-name")
        opened.driver.execute_script(
            "const option = document.createElement('option'); option.value = arguments[0];"
            "const chooser = document.getElementById('model'); chooser.append(option);"
            "chooser.value = arguments[0]; chooser.dispatchEvent(new Event('change'));",
            EVIL,
        )
        opened.wait("!document.getElementById('problem').hidden")
        problem = opened.text("#problem-detail")
        title = opened.driver.title
        images = opened.find_all('img[src="x"]')

    assert listed[0][0] == EVIL
    assert named == file.name
    assert EVIL[:20] in problem
    assert title == "elastic-yolo"
    assert images == []


def test_another_model_can_be_chosen(page: DetectionPage, tmp_path: Path) -> None:
    """Each is asked with its own threshold in mind, and only where there are several."""
    first = write_tiny_model(tmp_path / "first")
    wide = write_tiny_model(tmp_path / "wide", width=64, manifest="name: wide\nthreshold: 0.02\n")
    file = tmp_path / "plain.jpg"
    file.write_bytes(encode(plain(64, 48), "JPEG"))
    assert not page.find("#models").is_displayed()
    env = {"inference": {"MODEL_WIDE_PATH": str(wide)}}
    with Stack(model=first, logs=tmp_path, env=env) as stack:
        opened = DetectionPage(page.driver, stack.web.url)
        opened.open()
        opened.detect(file)
        with_first = opened.rows()
        opened.requested_urls()
        chooser = Select(opened.find("#model"))
        names = [option.text for option in chooser.options]
        chooser.select_by_visible_text("wide")
        opened.wait_said("found by wide")
        with_wide = opened.rows()
        (query,) = [urlsplit(url).query for url in opened.requested_urls() if "?" in url]
        threshold = opened.text("#threshold-value")

    assert names == ["tiny", "wide"]
    assert (len(with_first), len(with_wide)) == (1, 4)  # of both classes: circles score 0.05
    assert parse_qs(query) == {"model": ["wide"], "threshold": ["0.02"]}
    assert threshold == "0.02"
