"""Helpers to test pages and reports in Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver

from elastic_yolo.lab.processes.stack import ROOT

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = 'Chromium is missing: run "make browser"; this is NOT tested in a browser'

AXE = ROOT / ".venv-axe" / "node_modules" / "axe-core" / "axe.min.js"
"""The accessibility rules of Deque, which `make browser` installs."""


def is_installed() -> bool:
    """Return whether Chromium and its driver are installed."""
    return bool(BROWSER and DRIVER)


@contextmanager
def chromium(
    profile: Path, logs: dict[str, str] | None = None, flags: Sequence[str] = ()
) -> Iterator[webdriver.Chrome]:
    """Run Chromium with an empty profile; `logs` sets the log level of each kind of log."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    if logs is not None:
        options.set_capability("goog:loggingPrefs", logs)
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1000,1200",
        f"--user-data-dir={profile}",
        *flags,
    ):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


def serious_violations(driver: webdriver.Chrome) -> list[str]:
    """Return what axe finds on the page that is serious or critical: rule and element."""
    driver.execute_script(AXE.read_text())
    results = driver.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run({resultTypes: ['violations']}).then(done, (error) => done(String(error)));"
    )
    return [
        f"{rule['id']}: {node['html'][:200]}: {node['failureSummary']}"
        for rule in results["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
