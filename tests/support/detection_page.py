"""The page of web in a real browser, as a visitor uses it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

TIMEOUT_S = 60
LOGS = {"browser": "ALL", "performance": "ALL"}
"""For `chromium`: what `requested_urls` and `messages` read."""


@dataclass(frozen=True)
class DetectionPage:
    """The page at `url`."""

    driver: webdriver.Chrome
    url: str

    def open(self, width: int = 1280, height: int = 900, density: float = 1) -> None:
        """Load the page in a window of CSS pixels, and forget the messages of before."""
        self.resize(width, height, density)
        self.driver.get(f"{self.url}/")
        self.driver.execute_script("sessionStorage.clear(); localStorage.clear();")
        for log in LOGS:
            self.driver.get_log(log)
        self.driver.get(f"{self.url}/")

    def resize(self, width: int, height: int, density: float = 1) -> None:
        """Set the size of the window in CSS pixels, and how many device pixels each has."""
        size = {"width": width, "height": height, "deviceScaleFactor": density, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def choose(self, *files: Path) -> None:
        """Choose files in the file chooser."""
        self.find("#file").send_keys("\n".join(map(str, files)))

    def detect(self, *files: Path) -> str:
        """Choose files, wait until all are done and return what the page says."""
        self.choose(*files)
        return self.wait_said("found by" if len(files) == 1 else "done")

    def find(self, selector: str) -> WebElement:
        """Return the first element of a CSS selector."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def find_all(self, selector: str) -> list[WebElement]:
        """Return all elements of a CSS selector."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """Return the text of an element, which may be hidden."""
        return str(self.find(selector).get_property("textContent"))

    def wait(self, script: str) -> None:
        """Wait until an expression in JavaScript is true."""
        try:
            WebDriverWait(self.driver, TIMEOUT_S).until(
                lambda driver: driver.execute_script(f"return Boolean({script})")
            )
        except TimeoutException:
            problem = self.text("#problem-title"), self.text("#problem-detail")
            shown = self.text("#said"), *problem, self.messages()
            raise AssertionError(f"never true: {script}; the page says {shown}") from None

    def wait_said(self, expected: str) -> str:
        """Wait until the status contains a text, and return it."""
        self.wait(f"document.getElementById('said').textContent.includes({json.dumps(expected)})")
        return self.text("#said")

    def rows(self) -> list[list[str]]:
        """Return label, score and box of each row of the table."""
        return [
            [cell.text for cell in row.find_elements(By.TAG_NAME, "td")[:3]]
            for row in self.find_all("#found tbody tr")
        ]

    def set_threshold(self, value: float) -> None:
        """Move the slider."""
        self.driver.execute_script(
            "const slider = document.getElementById('threshold'); slider.value = arguments[0];"
            "slider.dispatchEvent(new Event('input'));",
            str(value),
        )

    def drawn(self) -> NDArray[np.uint8]:
        """Return the pixels of the canvas over the picture, (height, width, 4)."""
        url = self.driver.execute_script(
            "return document.getElementById('boxes').toDataURL('image/png')"
        )
        with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as picture:
            return np.asarray(picture.convert("RGBA"))

    def screenshot(self, selector: str) -> NDArray[np.uint8]:
        """Return the pixels of the screen where an element is, (height, width, 3)."""
        with Image.open(io.BytesIO(self.find(selector).screenshot_as_png)) as picture:
            return np.asarray(picture.convert("RGB"))

    def drawn_box(self, row: int) -> list[float]:
        """Emphasise a row's box and return where it is drawn, in pixels of the picture.

        That is [centre x, centre y, width, height], read from the canvas.
        """
        before = self.drawn()
        self.driver.execute_script(
            "document.querySelectorAll('#found tbody tr')[arguments[0]]"
            ".dispatchEvent(new Event('pointerenter'))",
            row,
        )
        after = self.drawn()
        assert (before != after).any()
        width = self.driver.execute_script("return document.getElementById('picture').naturalWidth")
        return [edge * width / after.shape[1] for edge in find_outline(after[:, :, 3] > 250)]

    def messages(self) -> list[dict[str, Any]]:
        """Return the messages of the console since the last call."""
        return list(self.driver.get_log("browser"))

    def requested_urls(self) -> list[str]:
        """Return the URLs that the browser requested since the last call."""
        events = [
            json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")
        ]
        return [
            str(event["params"]["request"]["url"])
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def call_module(self, module: str, function: str, *arguments: object) -> Any:
        """Call a function of a module of the page, and return its result."""
        return self.driver.execute_async_script(
            "const [module, name, values, done] = arguments;"
            "import(`${location.origin}/static/${module}`)"
            ".then((found) => done(found[name](...values)));",
            module,
            function,
            list(arguments),
        )

    def give_files(self, event: str, target: str, files: Sequence[Path]) -> None:
        """Dispatch an event that carries files: `paste` or `drop`, to an element."""
        carried = [(path.name, base64.b64encode(path.read_bytes()).decode()) for path in files]
        self.driver.execute_script(
            """
            const [kind, target, files] = arguments;
            const data = new DataTransfer();
            for (const [name, base64] of files) {
              const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
              data.items.add(new File([bytes], name, { type: "image/jpeg" }));
            }
            const how = { bubbles: true, cancelable: true };
            const event = kind === "paste"
              ? new ClipboardEvent(kind, { ...how, clipboardData: data })
              : new DragEvent(kind, { ...how, dataTransfer: data });
            document.querySelector(target).dispatchEvent(event);
            """,
            event,
            target,
            carried,
        )


def find_outline(mask: NDArray[np.bool_]) -> list[float]:
    """Return the rectangle whose outline is in a mask, as centre x, centre y, width and height.

    A label above or below it may be as wide as it.
    """
    columns = mask.sum(axis=0)
    upright = np.flatnonzero(columns > columns.max() / 2)
    left, right = float(upright.min()), float(upright.max() + 1)
    # The empty part within the rectangle is the longest one beside its right edge.
    inside = np.flatnonzero(~mask[:, upright.max() - 12])
    parts = np.split(inside, np.flatnonzero(np.diff(inside) > 1) + 1)
    within = [part for part in parts if part[0] > 0 and part[-1] < mask.shape[0] - 1]
    longest = max(within, key=len)
    line = 2.0  # half of the emphasised line
    top, bottom = longest[0] - line, longest[-1] + 1 + line
    left, right = left + line, right - line
    return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
