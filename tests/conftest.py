"""Fixtures that several test files share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import settings

from elastic_yolo.lab.processes.stack import DEMO_MODEL, Stack
from tests.support.tiny import write_tiny_model

# The same examples on every machine, and no verdict by the clock of a busy one.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


# A shell starts background jobs with SIGINT ignored, and children inherit that: the tests that send
# Ctrl-C to a process would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run `async def` tests marked `anyio` on asyncio, the only loop that the services use."""
    return "asyncio"


@pytest.fixture(scope="session")
def demo_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The three services with the embedded model, for tests that do not disturb them."""
    with Stack(model=DEMO_MODEL, logs=tmp_path_factory.mktemp("logs")) as stack:
        yield stack


@pytest.fixture(scope="session")
def web(demo_stack: Stack) -> Iterator[httpx.Client]:
    """A client of the web service in front of the embedded model."""
    with httpx.Client(base_url=demo_stack.web.url, timeout=30) as client:
        yield client


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """A folder with the model whose answer can be computed by hand."""
    return write_tiny_model(tmp_path / "tiny")
