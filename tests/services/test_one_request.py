"""The path of one picture: which modules it passes, and that docs/one-request.md names them."""

from __future__ import annotations

import json
import os
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

    assert len(modules) <= MOST_MODULES, list(modules)
