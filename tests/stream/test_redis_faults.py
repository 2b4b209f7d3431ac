"""Several consumers of a real Redis, while one is killed, one is stopped, and Redis restarts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.stream.message import Message, result_id
from elastic_yolo.stream.redis.streams import RedisSource
from tests.stream.results import MODEL
from tests.support.redis_server import RedisServer, redis_server
from tests.support.waiting import wait_until

COUNT = 10_000
CLAIM_AFTER_S = 1.0


@contextmanager
def finishing_consumer(server: RedisServer) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that receives, writes results and acknowledges."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.stream.redis_consumer"),
            *(server.address("stream=pictures"), str(CLAIM_AFTER_S)),
            server.address("stream=results"),
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def add_pictures(client: Any, count: int) -> list[str]:
    with client.pipeline(transaction=False) as pipeline:
        for number in range(count):
            pipeline.xadd("pictures", {"picture": b"%d" % number})
        return [one.decode() for one in pipeline.execute()]


@pytest.mark.long
def test_each_picture_has_a_result_and_duplicates_share_its_id(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server, server.client as client, ExitStack() as stack:
        ids = add_pictures(client, COUNT)
        killed, stopped, _ = [stack.enter_context(finishing_consumer(server)) for _ in range(3)]

        def has_results(count: int) -> None:
            wait_until(lambda: client.xlen("results") >= count, f"{count} results", 60)

        has_results(COUNT // 10)
        killed.send_signal(signal.SIGKILL)
        has_results(COUNT // 5)
        os.kill(stopped.pid, signal.SIGSTOP)
        has_results(COUNT // 3)
        server.kill()
        server.start()

        observer = RedisSource.open(server.address("stream=pictures"), 3600)
        stack.callback(observer.close)
        wait_until(lambda: observer.lag() == 0, "all pictures are acknowledged", 120)
        os.kill(stopped.pid, signal.SIGCONT)
        found = Counter(fields[b"id"].decode() for _, fields in client.xrange("results"))
        wanted = {result_id(Message(observer.name, one, b"", 0), MODEL["digest"]) for one in ids}
        assert set(found) == wanted
        # What three processes can have had in hand, and a few that were written without a reply.
        assert found.total() < COUNT + 100
        assert not client.exists("pictures:dead")
