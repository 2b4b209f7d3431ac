"""Reads reports in a browser, and locust's own CSV files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By


def visit(browser: webdriver.Chrome, url: str) -> None:
    """Open a page, and clear what the browser recorded for others."""
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(url)


def requested(browser: webdriver.Chrome) -> set[str]:
    """Return the URLs that were requested since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return {
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }


def rows(page: webdriver.Chrome, selector: str) -> list[list[str]]:
    """Return the cells of a table, folded or not."""
    return [
        [str(cell.get_property("textContent")) for cell in row.find_elements(By.TAG_NAME, "td")]
        for row in page.find_elements(By.CSS_SELECTOR, f"{selector} tbody tr")
    ]


def locust_total(folder: Path) -> dict[str, str]:
    """Return the row `Aggregated` of locust's statistics."""
    with (folder / "locust_stats.csv").open(newline="") as file:
        (total,) = (row for row in csv.DictReader(file) if row["Name"] == "Aggregated")
    return total
