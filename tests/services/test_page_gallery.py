"""The page with many pictures, and with what goes wrong: each picture says what became of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from elastic_yolo.lab.processes.stack import ROOT, Service, Stack
from tests.support.browsing import MISSING, is_installed
from tests.support.detection_page import DetectionPage
from tests.support.tiny import write_tiny_model

SCENES = sorted((ROOT / "client" / "images").glob("scene-*"))
MOST_IN_FLIGHT = 4
# No ASCII: a browser sends its bytes in UTF-8.
TOKEN = "ein genügend langes Token"  # noqa: S105

pytestmark = pytest.mark.skipif(not is_installed(), reason=MISSING)


def page_of(page: DetectionPage, stack: Stack) -> DetectionPage:
    """Return the page of another stack, opened in the same browser."""
    opened = DetectionPage(page.driver, stack.web.url)
    opened.open()
    return opened


def states(page: DetectionPage) -> list[str]:
    return [str(one.get_attribute("data-state")) for one in page.find_all("#thumbs button")]


@pytest.mark.long
def test_fifty_pictures_are_sent_four_at_a_time(page: DetectionPage, tmp_path: Path) -> None:
    files = [tmp_path / f"{number:02}{SCENES[number % 16].suffix}" for number in range(50)]
    for number, file in enumerate(files):
        shutil.copy(SCENES[number % 16], file)

    page.choose(*files)
    first_counted = page.text("#counted")
    page.wait_said("50 pictures done")

    requests = page.driver.execute_script(
        "return performance.getEntriesByType('resource')"
        ".filter(({name}) => name.includes('/inference'))"
        ".map(({startTime, responseEnd}) => [startTime, responseEnd])"
    )
    at_once = max(sum(begin <= moment < end for begin, end in requests) for moment, _ in requests)
    assert "of 50" in first_counted
    assert page.text("#counted") == "50 of 50"
    assert len(requests) == 50
    assert 2 <= at_once <= MOST_IN_FLIGHT
    assert states(page) == ["done"] * 50
    assert page.messages() == []


def test_a_click_or_an_arrow_key_selects_a_picture(page: DetectionPage) -> None:
    page.detect(*SCENES[:3])
    thumbs = page.find_all("#thumbs button")
    names = [page.text("#shown-name")]

    thumbs[2].click()
    names.append(page.text("#shown-name"))
    ActionChains(page.driver).send_keys(Keys.ARROW_LEFT).perform()
    names.append(page.text("#shown-name"))
    ActionChains(page.driver).send_keys(Keys.HOME).perform()
    names.append(page.text("#shown-name"))

    assert names == [SCENES[number].name for number in (0, 2, 1, 0)]
    assert page.driver.switch_to.active_element == thumbs[0]
    assert [one.get_attribute("tabindex") for one in thumbs] == ["0", "-1", "-1"]


def test_a_broken_file_fails_alone_and_says_why(page: DetectionPage, tmp_path: Path) -> None:
    text = tmp_path / "page.jpg"
    text.write_text("<html></html>")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(SCENES[0].read_bytes()[:20_000])

    page.choose(text, SCENES[0], cut)
    page.wait_said("1 picture done, 2 failed")

    assert states(page) == ["failed", "done", "failed"]
    assert page.text("#problem-name") == "page.jpg"
    assert page.text("#problem-title") == "Unsupported Media Type"
    assert page.text("#problem-detail").startswith("not an accepted picture format")
    assert page.text("#problem-advice").endswith("in an image editor and save it as one of these.")
    assert page.text("#problem-uid").startswith("uid ")
    assert len(page.text("#problem-uid")) == len("uid ") + 32
    assert not page.find("#result").is_displayed()
    # The same files would be refused again.
    assert not page.find("#retry").is_displayed()
    assert not page.find("#again").is_displayed()
    page.find_all("#thumbs button")[1].click()
    assert page.find("#result").is_displayed()
    assert not page.find("#problem").is_displayed()


def test_a_file_that_is_gone_fails_with_the_reason(page: DetectionPage, tmp_path: Path) -> None:
    file = tmp_path / "picture.jpg"
    shutil.copy(SCENES[0], file)
    set_offline(page, is_offline=True)
    try:
        page.choose(file)
        page.wait("document.getElementById('problem-title').textContent === 'No response'")
    finally:
        set_offline(page, is_offline=False)
    file.unlink()

    page.find("#retry").click()
    page.wait("document.getElementById('problem-title').textContent === 'Not readable'")

    assert page.text("#problem-name") == "picture.jpg"
    assert page.text("#problem-advice") == "Choose the file again."
    assert not page.find("#retry").is_displayed()


def set_offline(page: DetectionPage, *, is_offline: bool) -> None:
    conditions = {"offline": is_offline, "latency": 0, "downloadThroughput": -1}
    page.driver.execute_cdp_cmd("Network.enable", {})
    page.driver.execute_cdp_cmd(
        "Network.emulateNetworkConditions", {**conditions, "uploadThroughput": -1}
    )


def test_a_machine_without_a_camera_says_so(page: DetectionPage) -> None:
    page.find("#camera").click()
    page.wait("!document.getElementById('camera-problem').hidden")

    assert page.text("#camera-problem").startswith("The camera cannot be used: ")
    assert not page.find("#camera-video").is_displayed()
    assert not page.find("#camera-take").is_displayed()
    problem, close = page.find("#camera-problem").rect, page.find("#camera-close").rect
    assert close["y"] - (problem["y"] + problem["height"]) >= 8
    page.find("#camera-close").click()


def test_all_pictures_can_be_removed(page: DetectionPage) -> None:
    page.detect(*SCENES[:2])
    page.find("#clear").click()

    assert not page.find("#result").is_displayed()
    assert not page.find("#gallery").is_displayed()
    assert page.detect(SCENES[0])


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Services that want a token, and take one picture in a second."""
    folder = tmp_path_factory.mktemp("guarded")
    web = {"ACCESS_TOKEN": TOKEN, "LIMIT_RATE": "1", "LIMIT_BURST": "1"}
    with Stack(model=write_tiny_model(folder / "tiny"), logs=folder, env={"web": web}) as running:
        yield running


def test_a_missing_token_is_asked_for_and_kept_for_the_visit(
    page: DetectionPage, guarded: Stack
) -> None:
    opened = page_of(page, guarded)
    opened.choose(SCENES[0])
    opened.wait("!document.getElementById('token-form').hidden")
    title = opened.text("#problem-title")

    opened.find("#token").send_keys(TOKEN + Keys.ENTER)
    opened.wait_said("found by tiny")
    opened.find('[data-text="curl"] summary').click()
    curl = opened.text('[data-text="curl"] pre')
    opened.driver.get(f"{opened.url}/")
    opened.choose(SCENES[0])
    opened.wait_said("found by tiny")

    assert title == "Unauthorized"
    messages = [one["message"] for one in opened.driver.get_log("browser")]
    # The picture alone: nothing else was asked before there was a token.
    (refused,) = [one for one in messages if "401" in one]
    assert "/inference?" in refused
    assert opened.find("#token").get_attribute("type") == "password"
    assert 'curl -H "Authorization: Bearer $TOKEN"' in curl
    assert TOKEN not in opened.driver.page_source


@pytest.mark.parametrize("wrong", ["пароль", "pässwort"])
def test_a_wrong_token_is_asked_for_again(page: DetectionPage, guarded: Stack, wrong: str) -> None:
    """In any script, and after the page was loaded again."""
    opened = page_of(page, guarded)
    opened.choose(SCENES[0])
    opened.wait("!document.getElementById('token-form').hidden")
    opened.find("#token").send_keys(wrong + Keys.ENTER)
    opened.wait("document.getElementById('problem-detail').textContent.includes('not known')")
    opened.driver.get(f"{opened.url}/")
    opened.choose(SCENES[0])
    opened.wait("!document.getElementById('token-form').hidden")

    opened.find("#token").send_keys(TOKEN + Keys.ENTER)

    opened.wait_said("found by tiny")


def test_a_token_that_no_header_can_carry_is_not_kept(page: DetectionPage, guarded: Stack) -> None:
    opened = page_of(page, guarded)
    # Of an earlier version of the page.
    opened.driver.execute_script("sessionStorage.setItem('elastic-yolo.token', 'old\\x01')")
    opened.choose(SCENES[0])
    opened.wait("!document.getElementById('token-form').hidden")
    opened.driver.execute_script("document.getElementById('token').value = 'passwort\\x01x'")
    opened.find("#token").send_keys(Keys.ENTER)
    refusal = opened.text("#token-problem")
    opened.find("#token").send_keys(TOKEN + Keys.ENTER)
    opened.wait_said("found by tiny")

    assert refusal == "This is no token: it contains control characters."
    kept = opened.driver.execute_script("return sessionStorage.getItem('elastic-yolo.token')")
    assert kept == TOKEN


def test_a_browser_that_keeps_nothing_has_the_token_until_the_page_is_left(
    page: DetectionPage, guarded: Stack
) -> None:
    """Where cookies are blocked, browsers refuse the storage as well."""
    opened = page_of(page, guarded)
    refuse = (
        "for (const name of ['sessionStorage', 'localStorage']) Object.defineProperty(window, name,"
        " { get() { throw new DOMException('denied', 'SecurityError'); } });"
    )
    cdp = opened.driver.execute_cdp_cmd
    added = cdp("Page.addScriptToEvaluateOnNewDocument", {"source": refuse})
    try:
        opened.driver.get(f"{opened.url}/")
        opened.choose(SCENES[0])
        opened.wait("!document.getElementById('token-form').hidden")
        opened.find("#token").send_keys(TOKEN + Keys.ENTER)
        opened.wait_said("found by tiny")
    finally:
        cdp("Page.removeScriptToEvaluateOnNewDocument", added)


@pytest.mark.long
def test_a_refusal_with_retry_after_is_waited_for(page: DetectionPage, guarded: Stack) -> None:
    opened = page_of(page, guarded)
    opened.driver.execute_script(
        "sessionStorage.setItem('elastic-yolo.token', arguments[0])", TOKEN
    )

    opened.choose(*SCENES[:3])
    opened.wait("document.querySelector('#thumbs [data-state=waiting]')")
    counted = opened.text("#counted")
    opened.wait_said("3 pictures done")

    assert "the service is busy: on in" in counted
    assert states(opened) == ["done"] * 3


@pytest.mark.long
def test_services_that_go_away_and_come_back(page: DetectionPage, tmp_path: Path) -> None:
    """Behind web: the page waits, as it was told to. Web itself: the visitor tries again."""
    model = write_tiny_model(tmp_path / "tiny")
    with Stack(model=model, logs=tmp_path, env={"web": {"HOLD_S": "0"}}) as stack:
        opened = page_of(page, stack)
        opened.detect(SCENES[0])
        _restart_while(stack.preprocess, lambda: _waits(opened))
        opened.wait_said("2 pictures done.")

        _restart_while(stack.web, lambda: _fails(opened))
        opened.find("#retry").click()
        opened.wait_said("3 pictures done.")


def _restart_while(service: Service, seen_down: object) -> None:
    service.stop()
    assert callable(seen_down)
    seen_down()
    service.start()
    service.wait_ready()


def _waits(page: DetectionPage) -> None:
    page.choose(SCENES[1])
    page.wait_said("trying again in")


def _fails(page: DetectionPage) -> None:
    page.choose(SCENES[2])
    page.wait("!document.getElementById('problem').hidden")
    assert page.text("#problem-title") == "No response"
    assert page.text("#problem-advice").startswith("Check that the services run")
