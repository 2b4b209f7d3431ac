"""Take the pictures of the live view that the docs show, while inference scales from 1 to 3."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from selenium import webdriver
from selenium.webdriver.support.wait import WebDriverWait

from elastic_yolo.lab.processes.stack import Stack
from elastic_yolo.lab.timeline import Sample, append_samples
from tests.support.browsing import MISSING, chromium, is_installed
from tools.screenshots import save_screenshot

_SHOTS = (
    ("live-light", (1280, 720), "light"),
    ("live-dark", (1280, 720), "dark"),
    ("live-phone", (390, 844), "light"),
)
_RATE = 8
_TIMEOUT_S = 90
# Until cards have appeared, the chart has a past, and numbers are of the load alone.
_SETTLE_S = 12


def main() -> int:
    """Return 0 once all pictures are written."""
    if not is_installed():
        print(f"screenshots: {MISSING}", file=sys.stderr)
        return 1
    with TemporaryDirectory() as name:
        folder = Path(name)
        decisions = folder / "autoscalers.jsonl"
        env = {
            "web": {"LIVE_LOAD": "true", "LIVE_AUTOSCALERS": f"file:{decisions}"},
            "inference": {"THREADS": "1", "PRECISION": "fp32"},
        }
        stack = Stack(logs=folder, copies=3, env=env)
        with chromium(folder / "profile") as driver, _scaled(stack, driver, decisions):
            for shot, size, theme in _SHOTS:
                print(_take(driver, shot, size, theme), flush=True)
    return 0


@contextmanager
def _scaled(stack: Stack, driver: webdriver.Chrome, decisions: Path) -> Iterator[None]:
    """Open the page, make load, and add processes as the lab's autoscaler would."""
    first = (stack.inference, stack.preprocess, stack.web)
    with ExitStack() as running:
        for service in first:
            running.enter_context(service)
        for service in first:
            service.wait_ready()
        _decide(decisions, 1, "stays at 1: 31 % < 70 %")
        driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        driver.get(f"{stack.web.url}/live")
        _wait_for_ready(driver, 1)
        httpx.post(f"{stack.web.url}/live/load", json={"rate": _RATE, "seconds": 60})
        _decide(decisions, 3, "1 -> 3: 188 % > 70 %")
        for service in stack.copies:
            running.enter_context(service)
        _wait_for_ready(driver, 3)
        _decide(decisions, 3, "stays at 3: 66 % < 70 %: within the tolerance of 10 %", 3)
        time.sleep(_SETTLE_S)
        yield


def _decide(decisions: Path, desired: int, why: str, replicas: int = 1) -> None:
    others = "stays at 1: 24 % < 70 %"
    lines = [("web", 1, 1, others), ("preprocess", 1, 1, others)]
    append_samples(
        decisions,
        [
            Sample(time.time(), tier, there, there, wanted, 70, why=reason)
            for tier, there, wanted, reason in (*lines, ("inference", replicas, desired, why))
        ],
    )


def _wait_for_ready(driver: webdriver.Chrome, count: int) -> None:
    selector = ".tier[data-tier=inference] .process[data-state=ready]"
    script = f"return document.querySelectorAll('{selector}').length"
    WebDriverWait(driver, _TIMEOUT_S).until(lambda page: page.execute_script(script) == count)


def _take(driver: webdriver.Chrome, name: str, size: tuple[int, int], theme: str) -> str:
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < height}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": theme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    # A tick in the new colours, and the end of all transitions.
    time.sleep(1.5)
    return save_screenshot(driver, name, has_photo=False)


if __name__ == "__main__":
    sys.exit(main())
