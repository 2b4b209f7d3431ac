"""Snapshots of processes, and a reader of the live view's stream."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from services.common.core.live import EndpointSnapshot, ProcessSnapshot
from services.common.observe.telemetry import SECONDS_BUCKETS

PATIENCE_S = 60


def process(key: str, service: str = "inference", **changed: Any) -> ProcessSnapshot:
    """Return the snapshot of a process that has been ready for a second and has done nothing."""
    facts: dict[str, Any] = {
        "id": key,
        "service": service,
        "host": f"{service}-{key}",
        "port": 4002,
        "state": "ready",
        "age_s": 3.0,
        "ready_s": 1.0,
        "statuses": {},
        "seconds": [(bound, 0) for bound in SECONDS_BUCKETS],
        "in_flight": 0,
        "queues": {},
        "cpu_s": 0.0,
        "cpu_quota": 2.0,
    }
    return ProcessSnapshot(**facts | changed)


def endpoint(address: str, state: str = "serving", outstanding: int = 0) -> EndpointSnapshot:
    """Return an endpoint as a caller knows it."""
    return EndpointSnapshot.model_validate(
        {"peer": "inference", "address": address, "state": state, "outstanding": outstanding}
    )


@dataclass
class Viewer:
    """Reads the stream in a thread, and keeps what has arrived."""

    events: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    """Unix seconds of the arrival, name, and data."""
    ended: threading.Event = field(default_factory=threading.Event)

    def changes(self) -> list[dict[str, Any]]:
        """Return all changes so far, each once, with `arrived`.

        A viewer that was late gets a snapshot, with changes that it has already.
        """
        found: dict[str, dict[str, Any]] = {}
        for arrived, _, data in list(self.events):
            for change in data["changes"]:
                found.setdefault(json.dumps(change), {**change, "arrived": arrived})
        return list(found.values())

    def cards(self, tier: str) -> list[dict[str, Any]]:
        """Return the cards of a tier in the latest event."""
        cards: list[dict[str, Any]] = self.events[-1][2]["tiers"][tier]["cards"]
        return cards

    def read(self, response: httpx.Response) -> None:
        """Read until the stream ends."""
        name = ""
        try:
            for line in response.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    data = json.loads(line.removeprefix("data: "))
                    self.events.append((time.time(), name, data))
        except httpx.HTTPError:
            pass  # the test has closed it
        finally:
            self.ended.set()


@contextmanager
def watching(url: str, headers: Mapping[str, str] | None = None) -> Iterator[Viewer]:
    """Watch the live view of a web service until the block ends."""
    viewer = Viewer()
    with httpx.Client(timeout=PATIENCE_S) as client:
        request = client.build_request("GET", f"{url}/live/events", headers=headers)
        response = client.send(request, stream=True)
        assert response.status_code == 200, response.read()
        reader = threading.Thread(target=viewer.read, args=(response,), daemon=True)
        reader.start()
        try:
            yield viewer
        finally:
            response.close()
    reader.join(PATIENCE_S)
