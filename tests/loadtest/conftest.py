"""A browser for the report and for locust's page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium import webdriver

from tests.support.browsing import MISSING, chromium, is_installed


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Chromium, recording every request that it makes."""
    if not is_installed():
        pytest.skip(MISSING)
    logs = {"performance": "ALL", "browser": "ALL"}
    with chromium(tmp_path_factory.mktemp("profile"), logs) as running:
        yield running
