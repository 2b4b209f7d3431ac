"""Locust's web page with the tab Replicas, in a real browser."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from elastic_yolo.lab.processes.stack import LOOPBACK, Stack, free_port
from elastic_yolo.lab.timeline import Sample, append_samples
from tests.loadtest.reports import requested, visit
from tests.loadtest.running import require
from tests.support.waiting import serving, wait_until


def sample(tier: str, pods: int, why: str = "") -> Sample:
    return Sample(time.time(), tier, pods, pods, pods, 70, 50.0, 0.5 * pods, why)


@pytest.fixture(scope="module")
def timeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page") / "timeline.jsonl"


@pytest.fixture(scope="module")
def locust(demo_stack: Stack, timeline: Path) -> Iterator[str]:
    """Locust as documented, with TIMELINE in the environment."""
    append_samples(timeline, [sample("web", 1), sample("inference", 2)])
    port = free_port()
    command = [
        str(require("bin/locust")), "-f", "loadtest/locustfile.py", "--host", demo_stack.web.url,
        "--web-host", LOOPBACK, "--web-port", str(port),
    ]  # fmt: skip
    env = {**os.environ, "TIMELINE": str(timeline)}
    url = f"http://{LOOPBACK}:{port}"
    with serving(command, url, timeline.with_name("locust.log"), env):
        yield url


def text(browser: webdriver.Chrome) -> str:
    return browser.find_element(By.TAG_NAME, "body").text


@pytest.fixture
def tab(browser: webdriver.Chrome, locust: str) -> webdriver.Chrome:
    """The page with the tab open, while two users send pictures."""
    form = {"user_count": 2, "spawn_rate": 2}
    assert httpx.post(f"{locust}/swarm", data=form).json()["success"]
    visit(browser, f"{locust}/?tab=replicas")
    wait_until(lambda: "Pods of inference" in text(browser), "the chart is there")
    return browser


@pytest.mark.usefixtures("tab")
def test_users_send_pictures_that_are_served(locust: str) -> None:
    def stats() -> dict[str, dict[str, float]]:
        listed = httpx.get(f"{locust}/stats/requests").json()["stats"]
        return {one["name"]: one for one in listed}

    wait_until(lambda: stats()["Aggregated"]["num_requests"] >= 4, "pictures are answered", 60)

    assert stats()["Aggregated"]["num_failures"] == 0
    assert all(name.startswith("/inference (") for name in stats() if name != "Aggregated")


def test_the_chart_has_ready_and_desired_pods_of_each_tier(
    tab: webdriver.Chrome,
) -> None:
    # In one script: the page may draw the chart anew between two.
    lines = (
        "return [...document.querySelectorAll('#replicas-chart path')]"
        ".map((path) => path.dataset.line)"
    )

    assert tab.execute_script(lines) == [
        "web ready", "web desired", "inference ready", "inference desired", "web CPU",
        "inference CPU",
    ]  # fmt: skip


def test_table_and_chart_follow_the_file(tab: webdriver.Chrome, timeline: Path) -> None:
    append_samples(timeline, [sample("inference", 7, "grew <i>to</i> seven")])

    wait_until(lambda: "grew <i>to</i> seven" in text(tab), "the table has it")
    tops = (
        "return [...document.querySelectorAll('#replicas-chart svg text')]"
        ".map((label) => label.textContent)"
    )
    wait_until(lambda: "8" in tab.execute_script(tops), "the chart's axis has grown")


def test_the_chart_is_only_in_its_own_tab(tab: webdriver.Chrome) -> None:
    tab.execute_script(
        "[...document.querySelectorAll('[role=tab]')]"
        ".find((title) => title.textContent.toLowerCase() === 'statistics').click()"
    )

    wait_until(lambda: not tab.find_element(By.ID, "replicas-chart").is_displayed(), "it is hidden")


def test_the_page_loads_nothing_from_elsewhere_and_logs_no_error(
    tab: webdriver.Chrome, locust: str
) -> None:
    elsewhere = {url for url in requested(tab) if not url.startswith((locust, "data:", "blob:"))}

    assert elsewhere == set()
    assert tab.get_log("browser") == []


def test_without_a_timeline_the_page_is_locusts(demo_stack: Stack, tmp_path: Path) -> None:
    port = free_port()
    command = [
        str(require("bin/locust")), "-f", "loadtest/locustfile.py", "--host", demo_stack.web.url,
        "--web-host", LOOPBACK, "--web-port", str(port),
    ]  # fmt: skip
    env = {name: value for name, value in os.environ.items() if name != "TIMELINE"}
    with serving(command, f"http://{LOOPBACK}:{port}", tmp_path / "locust.log", env) as url:
        page = httpx.get(url).text
        data = httpx.get(f"{url}/replicas/data")

    assert "window.templateArgs" in page
    assert "replicas" not in page
    assert data.status_code == 404
