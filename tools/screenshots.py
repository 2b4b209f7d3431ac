"""Take the pictures of the web pages that the docs show: `make screenshots`."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from selenium import webdriver
from selenium.webdriver.support.wait import WebDriverWait

from elastic_yolo.lab.processes.stack import ROOT, Stack, StackError
from tests.support.browsing import MISSING, chromium, is_installed

_FOLDER = ROOT / "docs" / "images"
_TIMEOUT_S = 30
_COLOURS = 256
# The first responses take longer, and readers would take their times for usual ones.
_WARM_UP = 5


@dataclass(frozen=True)
class Shot:
    """A picture of a page: its window in CSS pixels, and what a visitor does first."""

    name: str
    path: str
    size: tuple[int, int]
    theme: str
    act: Callable[[webdriver.Chrome], None]
    is_phone: bool = False


def main() -> int:
    """Return 0 once all pictures are written."""
    if not is_installed():
        print(f"screenshots: {MISSING}", file=sys.stderr)
        return 1
    with TemporaryDirectory() as folder:
        try:
            # fp32: the boxes are the same on every machine.
            stack = Stack(logs=Path(folder), env={"inference": {"PRECISION": "fp32"}})
            with stack, chromium(Path(folder) / "profile") as driver:
                for shot in SHOTS:
                    print(_take(driver, stack.web.url, shot), flush=True)
        except StackError as error:
            print(f"screenshots: {error}", file=sys.stderr)
            return 1
    return 0


def _take(driver: webdriver.Chrome, url: str, shot: Shot) -> str:
    width, height = shot.size
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": shot.is_phone}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
    driver.get(f"{url}/")
    driver.execute_script("localStorage.setItem('elastic-yolo.theme', arguments[0])", shot.theme)
    driver.get(f"{url}/{shot.path}")
    shot.act(driver)
    return save_screenshot(driver, shot.name, has_photo=True)


def save_screenshot(driver: webdriver.Chrome, name: str, *, has_photo: bool) -> str:
    """Write what the browser shows for the docs; return the file and its size."""
    file = _FOLDER / f"{name}.png"
    dither = Image.Dither.FLOYDSTEINBERG if has_photo else Image.Dither.NONE
    with Image.open(io.BytesIO(driver.get_screenshot_as_png())) as taken:
        # A palette: a quarter of the size, and the difference is hard to see.
        pixels = taken.convert("RGB")
        palette = pixels.quantize(_COLOURS, kmeans=1)
        pixels.quantize(palette=palette, dither=dither).save(file, optimize=True)
    return f"{file.relative_to(ROOT)}: {file.stat().st_size:,} bytes"


def _detect_samples(driver: webdriver.Chrome) -> None:
    """Send the first sample until the services are warm, then all of them."""
    for _ in range(_WARM_UP):
        _send_samples(driver, 1)
        driver.execute_script("document.getElementById('clear').click()")
    _send_samples(driver, 4)
    driver.execute_script("document.querySelector('#thumbs button').click()")
    _wait(driver, "document.getElementById('said').textContent.includes('found by')")
    _wait(driver, "document.getElementById('picture').complete")
    driver.execute_script("document.activeElement.blur()")


def _send_samples(driver: webdriver.Chrome, count: int) -> None:
    for number in range(count):
        driver.execute_script(
            "document.querySelectorAll('#samples button')[arguments[0]].click()", number
        )
        done = "document.querySelectorAll('#thumbs [data-state=done]').length"
        _wait(driver, f"{done} === {number + 1}")


def _wait(driver: webdriver.Chrome, expression: str) -> None:
    WebDriverWait(driver, _TIMEOUT_S).until(
        lambda running: running.execute_script(f"return {expression}"), expression
    )


SHOTS = (
    Shot("page-light", "", (1280, 980), "light", _detect_samples),
    Shot("page-dark", "", (1280, 980), "dark", _detect_samples),
    Shot("page-phone", "", (390, 844), "light", _detect_samples, is_phone=True),
)


if __name__ == "__main__":
    sys.exit(main())
