"""The browser and the page of web, for the tests of what visitors see."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium import webdriver

from elastic_yolo.lab.processes.stack import Stack
from tests.support.browsing import chromium
from tests.support.detection_page import LOGS, DetectionPage


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Chromium, whose messages and requests are recorded; a module may have another one."""
    with chromium(tmp_path_factory.mktemp("profile"), LOGS) as running:
        yield running


@pytest.fixture
def page(browser: webdriver.Chrome, demo_stack: Stack) -> DetectionPage:
    """The page of web with the embedded model."""
    opened = DetectionPage(browser, demo_stack.web.url)
    opened.open()
    return opened
