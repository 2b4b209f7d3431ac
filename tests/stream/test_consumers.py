"""Consumers of a Redis stream as processes of the command: killed, paused, and Redis restarted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from elastic_yolo.lab.processes.stack import ROOT, free_port
from tests.support.pictures import encode, plain
from tests.support.redis_server import RedisServer, redis_server
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
PICTURES = 10_000
PICTURE = encode(plain(40, 30), "JPEG")
POISON = b"\xff\xd8\xff\xe0 no picture"
CLAIM_AFTER_S = 3


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path, {"appendfsync": "everysec"}) as running:
        yield running


@contextmanager
def consumers(
    server: RedisServer, model: Path, count: int
) -> Iterator[list[subprocess.Popen[Any]]]:
    """Run so many consumers; those that still run at the end are killed."""
    command = [
        sys.executable, "-m", "elastic_yolo.cli", "stream", "--model", str(model),
        "--source", server.address("stream=pictures&trim=answered"),
        "--sink", server.address("stream=results"), "--claim-after", str(CLAIM_AFTER_S),
    ]  # fmt: skip
    processes = [
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) for _ in range(count)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def add(client: Any, pictures: Sequence[bytes]) -> list[str]:
    """Add messages; return their ids."""
    ids: list[str] = []
    for start in range(0, len(pictures), 500):
        with client.pipeline(transaction=False) as pipeline:
            for number, picture in enumerate(pictures[start : start + 500], start):
                pipeline.xadd("pictures", {"picture": picture, "number": str(number)})
            ids += [one.decode() for one in pipeline.execute()]
    return ids


def answered(client: Any) -> dict[str, set[str]]:
    """Return the ids of the results of each message."""
    found: dict[str, set[str]] = {}
    for _, fields in client.xrange("results"):
        result = json.loads(fields[b"result"])
        assert result["id"].encode() == fields[b"id"]
        found.setdefault(result["message"], set()).add(result["id"])
    return found


def waiting(client: Any) -> int:
    """Return how many messages of the group are not acknowledged."""
    (group,) = client.xinfo_groups("pictures")
    return int(group["pending"]) + int(group["lag"] or 0)


def test_no_picture_is_lost_when_consumers_die_and_redis_restarts(
    server: RedisServer, tiny_model: Path
) -> None:
    """Three consumers: one is killed, one is paused for longer than its messages stay its own."""
    client = server.client
    poison = [7, 5003, 9990]
    pictures = [POISON if number in poison else PICTURE for number in range(PICTURES)]
    with consumers(server, tiny_model, 3) as (killed, paused, stays):
        ids = add(client, pictures[: PICTURES // 2])
        wait_until(lambda: client.xlen("results") > 500, "the work began", 60)
        killed.send_signal(signal.SIGKILL)
        paused.send_signal(signal.SIGSTOP)
        stopped_at = time.monotonic()
        ids += add(client, pictures[PICTURES // 2 :])
        before = client.xlen("results")
        wait_until(lambda: client.xlen("results") > before + 500, "one goes on alone", 60)

        server.kill()
        server.start()

        wait_until(lambda: time.monotonic() > stopped_at + 2 * CLAIM_AFTER_S, "claims end", 60)
        paused.send_signal(signal.SIGCONT)
        wait_until(lambda: waiting(client) == 0, "everything is acknowledged", 300)
        for process in (paused, stays):
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0

    found = answered(client)
    assert found.keys() == {one for number, one in enumerate(ids) if number not in poison}
    # A message that was answered twice has the same result id both times.
    assert all(len(results) == 1 for results in found.values())
    dead = {fields[b"original-id"].decode(): fields for _, fields in client.xrange("pictures:dead")}
    assert dead.keys() == {ids[number] for number in poison}
    assert all(fields[b"picture"] == POISON for fields in dead.values())


def test_the_metrics_of_a_consumer_show_its_work_and_its_lag(
    server: RedisServer, tiny_model: Path
) -> None:
    client, port = server.client, free_port()
    add(client, [PICTURE, POISON, PICTURE])
    command = [
        sys.executable, "-m", "elastic_yolo.cli", "stream", "--model", str(tiny_model),
        "--source", server.address("stream=pictures"), "--sink", server.address("stream=results"),
        "--metrics-port", str(port),
    ]  # fmt: skip
    name = server.address("stream=pictures")

    def metric(line: str) -> str | None:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        return next((one.split()[-1] for one in text.splitlines() if one.startswith(line)), None)

    def ready() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(ready, "the consumer is ready", 60)
            wait_until(lambda: waiting(client) == 0, "everything is acknowledged", 60)
            counted = f'elastic_yolo_stream_messages_total{{outcome="%s",source="{name}"}}'
            wait_until(lambda: metric(counted % "answered") == "2.0", "two are counted", 60)
            assert metric(counted % "rejected") == "1.0"
            wait_until(lambda: metric("elastic_yolo_stream_lag{") == "0.0", "no lag", 60)
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
