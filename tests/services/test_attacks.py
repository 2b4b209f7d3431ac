"""A hundred connections that attack a service: its memory stays, and it goes on answering.

`ATTACK_SECONDS=60` attacks longer.
"""

from __future__ import annotations

import http.client
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from elastic_yolo.lab.processes.stack import LOOPBACK, Service, Stack, free_port
from tests.support.attackers import attacking, attacks
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model
from tests.support.waiting import in_flight, wait_until

SECONDS = float(os.environ.get("ATTACK_SECONDS", "3"))
TOKEN = "a long enough token"  # noqa: S105
# Twice the bodies that a service holds at a time (MAX_HELD_BYTES), and what it takes to parse one:
# inference takes 27 MB of JSON with pictures in it, copies its text, and decodes that.
MAX_GROWTH_BYTES = {"web": 64_000_000, "preprocess": 64_000_000, "inference": 144_000_000}
# What preprocess may take to decode pictures, and returns afterwards.
DECODING_BYTES = 8 * 64_000_000
# On two cores that are idle otherwise, /livez takes less than 0.5 s; this is for busy machines.
MAX_LIVEZ_S = 20.0
PICTURE = encode(plain(640, 480), "JPEG")
PATHS = {"web": "/inference", "preprocess": "/process", "inference": "/v2/models/tiny/infer"}
NAMES = [attack.name for attack in attacks("")]


@pytest.fixture(scope="module", params=["open", "with a token"])
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The services, after enough pictures for their memory to have grown as it does anyway."""
    folder = tmp_path_factory.mktemp("attacks")
    env = {"web": {"ACCESS_TOKEN": TOKEN}} if request.param == "with a token" else {}
    with Stack(model=write_tiny_model(folder / "model"), logs=folder, env=env) as running:
        for _ in range(30):
            detect(running)
        yield running


def detect(stack: Stack) -> None:
    headers = {"Content-Type": "image/jpeg", "Authorization": f"Bearer {TOKEN}"}
    url = f"{stack.web.url}/inference"
    response = httpx.post(url, content=PICTURE, headers=headers, timeout=60)
    assert response.status_code == 200, response.text


def resident_bytes(service: Service) -> int:
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found.group(1)) * 1024


def livez_s(service: Service) -> float:
    """Return how long /livez takes over a connection of its own."""
    begin = time.monotonic()
    connection = http.client.HTTPConnection(LOOPBACK, service.port, timeout=60)
    connection.request("GET", "/livez")
    assert connection.getresponse().status == 200
    connection.close()
    return time.monotonic() - begin


def test_refused_uploads_leave_nothing_in_memory(tmp_path: Path) -> None:
    """What had arrived of each upload stayed until a garbage collection: 140 KB, 600 times."""
    head = b"POST /v2/models/tiny/infer HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n"
    env = {"MODEL_PATH": str(write_tiny_model(tmp_path / "tiny"))}
    with Service("inference", free_port(), env) as service:
        service.wait_ready()
        before = resident_bytes(service)
        for _ in range(6):
            with ExitStack() as opened:
                callers = [
                    opened.enter_context(socket.create_connection((LOOPBACK, service.port)))
                    for _ in range(100)
                ]
                for caller in callers:
                    caller.sendall(head + bytes(150_000))
                for caller in callers:
                    assert caller.recv(100).startswith(b"HTTP/1.1 413 ")
        growth = resident_bytes(service) - before

    assert growth < 20_000_000


@pytest.mark.long
@pytest.mark.timeout(600 + SECONDS)
@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("name", PATHS)
def test_memory_stays_and_livez_answers_under_attack(stack: Stack, name: str, kind: str) -> None:
    service = getattr(stack, name)
    attack = next(one for one in attacks(PATHS[name]) if one.name == kind)
    before = {one.name: resident_bytes(one) for one in stack.services}
    growth: dict[str, int] = dict.fromkeys(before, 0)
    waits: list[float] = []
    until = time.monotonic() + SECONDS
    with attacking(service, attack):
        while time.monotonic() < until or not waits:
            waits.append(livez_s(service))
            for one in stack.services:
                growth[one.name] = max(growth[one.name], resident_bytes(one) - before[one.name])
    grown = {one: f"{size / 1e6:.1f} MB" for one, size in growth.items()}
    waits.sort()
    print(f"{name}, {kind}: grown {grown}")  # noqa: T201  # the figures are the result
    print(f"livez p50 {waits[len(waits) // 2]:.3f} s, longest {waits[-1]:.3f} s of {len(waits)}")  # noqa: T201

    if attack.decodes:
        assert growth.pop("preprocess") < DECODING_BYTES + MAX_GROWTH_BYTES["preprocess"]
        # Of a caller that sends the next request before it has its response, services notice
        # only then that it is gone. So the pictures that are in flight are still decoded.
        tiers = (stack.web, stack.preprocess)
        wait_until(lambda: not any(in_flight(one.url) for one in tiers), "all are decoded", 120)
        most = before["preprocess"] + MAX_GROWTH_BYTES["preprocess"]
        wait_until(lambda: resident_bytes(stack.preprocess) < most, "the memory is returned", 60)
    assert all(growth[name] < MAX_GROWTH_BYTES[name] for name in growth), grown
    assert waits[-1] < MAX_LIVEZ_S
    detect(stack)
