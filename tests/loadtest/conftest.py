"""A browser for the report and for locust's page."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from selenium import webdriver

from tests.support.browsing import MISSING, chromium, is_installed


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Chromium, which notes every request that it makes."""
    if not is_installed():
        pytest.skip(MISSING)
    logs = {"performance": "ALL", "browser": "ALL"}
    with chromium(tmp_path_factory.mktemp("profile"), logs) as running:
        yield running


def visit(browser: webdriver.Chrome, url: str) -> None:
    """Open a page, and forget what the browser noted of others."""
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(url)


def requested(browser: webdriver.Chrome) -> set[str]:
    """Return the addresses that were asked for since the last time."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return {
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }
