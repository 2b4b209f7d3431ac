"""The path of one picture: which modules it passes, and that docs/one-request.md names them."""

from __future__ import annotations

import importlib
import json
import os
import re
import secrets
import signal
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from elastic_yolo.lab.processes.stack import ROOT, Service, Stack
from tests.support.waiting import wait_until

MOST_MODULES = 40
PICTURE = ROOT / "client" / "images" / "scene-01.jpg"
Calls = list[tuple[str, str]]


@dataclass(frozen=True)
class TracedStack:
    """The three services, each with a recorder of the functions that it calls."""

    stack: Stack
    folder: Path

    def record(self) -> Calls:
        """Send a picture and return module and function of all calls, each once, by service."""
        uid = secrets.token_hex(16)
        for service in self.stack.services:
            on = self._file(service).with_suffix(".on")
            on.unlink(missing_ok=True)
            os.kill(service.process.pid, signal.SIGUSR1)
            wait_until(on.exists, f"{service.name} records")
        url = f"{self.stack.web.url}/inference"
        files = {"image": PICTURE.read_bytes()}
        sent = httpx.post(url, files=files, headers={"X-Request-ID": uid}, timeout=30)
        assert sent.status_code == 200
        calls: Calls = []
        for service in reversed(self.stack.services):
            log = self.folder / f"{service.name}.log"
            wait_until(lambda log=log: uid in log.read_text(), f"{log.name} has the request")
            self._file(service).unlink(missing_ok=True)
            os.kill(service.process.pid, signal.SIGUSR2)
            wait_until(self._file(service).exists, f"{service.name} has written its record")
            calls += [tuple(call) for call in json.loads(self._file(service).read_text())]
        return calls

    def _file(self, service: Service) -> Path:
        return self.folder / f"{service.name}.json"


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Calls:
    """The calls that each of several pictures causes: periodic tasks are not among them."""
    folder = tmp_path_factory.mktemp("traced")
    start = str(Path(__file__).parents[1] / "support" / "traced_start")
    env = {
        name: {"PYTHONPATH": start, "TRACED_CALLS": str(folder / f"{name}.json")}
        for name in ("web", "preprocess", "inference")
    }
    with Stack(logs=folder, env=env) as stack:
        traced = TracedStack(stack, folder)
        traced.record()  # the first picture also requests the model's metadata
        records = [traced.record() for _ in range(4)]
    in_all = set(records[0]).intersection(*records)
    return [call for call in dict.fromkeys(records[0]) if call in in_all]


def test_a_picture_passes_a_limited_number_of_modules(calls: Calls) -> None:
    modules = dict.fromkeys(module for module, _ in calls)
    print(f"one picture passes {len(modules)} modules:", *modules, sep="\n  ")  # noqa: T201  # the list is the result

    assert len(modules) <= MOST_MODULES, "\n".join(modules)


PAGE = ROOT / "docs" / "one-request.md"
_STOP = re.compile(r"\]\(\.\./([\w/]+)\.py\)\s+`([\w.]+)`")


def named_functions() -> list[tuple[str, str]]:
    """Return module and function of each stop on the page."""
    return [(path.replace("/", "."), name) for path, name in _STOP.findall(PAGE.read_text())]


def test_the_page_has_about_fifteen_stops() -> None:
    assert 12 <= len(named_functions()) <= 20


@pytest.mark.parametrize(("module", "name"), named_functions())
def test_every_function_named_on_the_page_exists(module: str, name: str) -> None:
    found: object = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)

    assert callable(found)


def test_a_picture_calls_every_function_named_on_the_page(calls: Calls) -> None:
    """A function that builds a route stands for the route within it."""
    called = {(module, name.split(".<locals>")[0]) for module, name in calls}

    assert set(named_functions()) <= called


def test_every_other_name_on_the_page_is_defined_in_the_path() -> None:
    """Functions and classes mentioned in the text, found by their names as grep finds them."""
    text = PAGE.read_text()
    words = set(re.findall(r"`([A-Z]\w+\.\w+|[a-z]+_[a-z_]+|[A-Z]\w+[a-z]\w*)`", text))
    files = [
        path for folder in ("services", "elastic_yolo") for path in (ROOT / folder).rglob("*.py")
    ]
    source = "\n".join(path.read_text() for path in files)
    fields = {"decode_queue"}  # of Server-Timing

    missing = [
        word
        for word in words - fields
        if not re.search(rf"(def|class) {re.escape(word.rpartition('.')[2])}\b", source)
    ]
    assert not missing
