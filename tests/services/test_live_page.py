"""The live view in a real browser: cards that come and go, the token, nothing from elsewhere."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By

from elastic_yolo.lab.processes.stack import Service, Stack, free_port
from tests.support.browsing import AXE, MISSING, is_installed, serious_violations
from tests.support.tiny import write_tiny_model
from tests.support.waiting import wait_until

PATIENCE_S = 60
TOKEN = "a long enough token"  # noqa: S105

pytestmark = pytest.mark.skipif(not is_installed(), reason=MISSING)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Two inference processes, of which the second does not run."""
    env = {"web": {"LIVE_LOAD": "true"}}
    stack = Stack(model=write_tiny_model(tmp_path / "m"), logs=tmp_path, copies=2, env=env)
    first = (stack.inference, stack.preprocess, stack.web)
    with ExitStack() as running:
        for service in first:
            running.enter_context(service)
        for service in first:
            service.wait_ready()
        yield stack


def texts(page: webdriver.Chrome, selector: str) -> list[str]:
    """Return the texts of elements; those that go meanwhile have none."""
    found = []
    for one in page.find_elements(By.CSS_SELECTOR, selector):
        try:
            found.append(one.text)
        except StaleElementReferenceException:
            continue
    return found


def shows(page: webdriver.Chrome, selector: str, fact: Callable[[list[str]], bool]) -> None:
    """Wait until the texts of the elements that a selector finds are as expected."""
    wait_until(lambda: fact(texts(page, selector)), selector, PATIENCE_S)


def states(page: webdriver.Chrome, tier: str, expected: list[str]) -> None:
    """Wait until the cards of a tier have these states."""
    selector = f".tier[data-tier={tier}] .process:not(.ghost) .state"
    shows(page, selector, lambda found: found == expected)


def requested(page: webdriver.Chrome) -> set[str]:
    """Return the URLs that the browser has asked for."""
    messages = (json.loads(one["message"])["message"] for one in page.get_log("performance"))
    sent = (one["params"] for one in messages if one["method"] == "Network.requestWillBeSent")
    return {one["request"]["url"] for one in sent}


def test_cards_come_and_go_with_their_processes(browser: webdriver.Chrome, stack: Stack) -> None:
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(f"{stack.web.url}/live")
    for tier in ("web", "preprocess", "inference"):
        states(browser, tier, ["ready"])
    (second,) = stack.copies
    with second:
        second.wait_ready()
        states(browser, "inference", ["ready", "ready"])
        shows(browser, "#log .who", lambda found: f"inference-{second.port}" in found)
    states(browser, "inference", ["ready"])
    shows(browser, "#log p", lambda found: any(one.endswith(" gone") for one in found))

    assert browser.get_log("browser") == []
    asked = {url for url in requested(browser) if not url.startswith("data:")}
    assert asked
    assert {url for url in asked if not url.startswith(f"{stack.web.url}/")} == set()


def test_load_is_made_shown_and_stopped(browser: webdriver.Chrome, stack: Stack) -> None:
    browser.get(f"{stack.web.url}/live")
    states(browser, "inference", ["ready"])
    browser.find_element(By.ID, "go").click()
    shows(browser, "#served", lambda found: float(found[0]) > 0)
    shows(browser, "#codes .ok", bool)
    browser.find_element(By.ID, "stop").click()
    shows(browser, "#go", lambda found: found == ["Make load"])

    assert texts(browser, "#p95")[0].isdecimal()


def test_the_page_goes_on_when_web_is_back(browser: webdriver.Chrome, stack: Stack) -> None:
    browser.get(f"{stack.web.url}/live")
    states(browser, "web", ["ready"])
    stack.web.stop()
    shows(browser, "#said", lambda found: found == ["The connection is lost; trying again…"])
    stack.web.start()
    stack.web.wait_ready()

    shows(browser, "#said", lambda found: found == ["live"])
    states(browser, "web", ["ready"])


def test_the_page_says_that_a_frozen_web_is_silent(browser: webdriver.Chrome, stack: Stack) -> None:
    """Its connections stay open, as those of a machine that slept."""
    browser.get(f"{stack.web.url}/live")
    states(browser, "web", ["ready"])
    os.kill(stack.web.process.pid, signal.SIGSTOP)
    try:
        wait_until(
            lambda: texts(browser, "#said") == ["The connection is lost; trying again…"],
            "the page notices",
            20,
        )
    finally:
        os.kill(stack.web.process.pid, signal.SIGCONT)

    shows(browser, "#said", lambda found: found == ["live"])


def test_with_a_token_the_page_asks_for_it(
    browser: webdriver.Chrome, demo_stack: Stack, tmp_path: Path
) -> None:
    settings = {**demo_stack.web.env, "ACCESS_TOKEN": TOKEN}
    with Service("web", free_port(), settings, tmp_path / "web.log") as web:
        web.wait_ready()
        browser.get(f"{web.url}/live")
        shows(browser, "#said", lambda found: found == ["A token is required."])
        assert not browser.find_element(By.ID, "main").is_displayed()
        browser.find_element(By.ID, "token").send_keys("wrong\n")
        shows(browser, "#said", lambda found: found == ["A token is required."])
        browser.find_element(By.ID, "token").send_keys(f"{TOKEN}\n")
        states(browser, "inference", ["ready"])
        # It is kept for the other pages of this tab.
        browser.refresh()
        states(browser, "inference", ["ready"])
        assert httpx.get(f"{web.url}/live/events").status_code == 401
        browser.execute_script("sessionStorage.clear()")


def test_names_are_shown_as_text(browser: webdriver.Chrome, demo_stack: Stack) -> None:
    evil = "<img src=x onerror=alert(1)>"
    browser.get(f"{demo_stack.web.url}/live")
    browser.set_script_timeout(PATIENCE_S)

    shown, images = browser.execute_async_script(
        """
        const [evil, done] = arguments;
        import("/static/live-cards.js").then(({ Tier }) => {
          const tier = new Tier("inference");
          const process = {
            id: "a", name: evil, state: evil, rate: 1, share: 1, in_flight: 0, queue: 0, cpu: 0,
            cpu_quota: 1, ejected: false,
            models: [{ name: evil, version: evil, digest: evil, engine: evil, precision: evil }],
          };
          const autoscaler = { desired: 2, least: 1, most: 3, why: evil };
          tier.show({ rate: 1, cards: [process], autoscaler }, { isFirst: false });
          done([tier.element.textContent, tier.element.querySelectorAll("img").length]);
        });
        """,
        evil,
    )

    assert images == 0
    assert shown.count(evil) >= 6


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_and_axe_finds_nothing_serious(
    browser: webdriver.Chrome, demo_stack: Stack, width: int, scheme: str
) -> None:
    """The page is no wider than the screen, and on a projector not higher."""
    height = 720
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
    )
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        # A card that fades in has too little contrast for a moment.
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(f"{demo_stack.web.url}/live")
    states(browser, "inference", ["ready"])

    if AXE.exists():
        assert serious_violations(browser) == []
    page = "document.documentElement"
    wide, high = browser.execute_script(f"return [{page}.scrollWidth, {page}.scrollHeight]")
    assert wide <= width
    assert width < 1000 or high <= height
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
