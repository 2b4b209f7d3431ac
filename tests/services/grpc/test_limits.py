"""What a stranger can send is bounded: messages, compression, connections, memory."""

from __future__ import annotations

import re
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import numpy as np
import pytest

from elastic_yolo.lab.processes.stack import LOOPBACK, Service
from tests.support.grpc_service import grpc_service, infer_request, rows
from tests.support.waiting import wait_until

MB = 1_000_000
REQUEST = infer_request(np.zeros((1, 32, 32, 3), np.uint8))
CODE = grpc.StatusCode


def resident_bytes(service: Service) -> int:
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found.group(1)) * 1024


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_compressed_message_is_taken(tmp_path: Path, compression: grpc.Compression) -> None:
    with grpc_service(tmp_path) as (_, client):
        assert len(rows(client.call("ModelInfer", REQUEST, compression=compression))) == 1


def test_a_message_above_max_held_bytes_is_refused(tmp_path: Path) -> None:
    with grpc_service(tmp_path, MAX_HELD_BYTES=str(MB)) as (_, client):
        outcome = client.send_bytes(bytes(2 * MB))

        assert outcome.code is CODE.RESOURCE_EXHAUSTED
        assert len(rows(client.call("ModelInfer", REQUEST))) == 1


def test_a_message_that_inflates_beyond_the_limit_takes_no_memory(tmp_path: Path) -> None:
    """An attack: 300 MB of zeros are 300 KB on the wire."""
    with grpc_service(tmp_path, MAX_HELD_BYTES=str(2 * MB)) as (service, client):
        client.call("ModelInfer", REQUEST)
        before = resident_bytes(service)
        outcome = client.send_bytes(bytes(300 * MB), compression=grpc.Compression.Gzip)
        grown = resident_bytes(service) - before

    assert outcome.code is CODE.RESOURCE_EXHAUSTED
    assert grown < 64 * MB


def test_a_hundred_large_messages_at_once_take_limited_memory(tmp_path: Path) -> None:
    """Four of them arrive at a time; without that limit they would take 800 MB."""
    with grpc_service(tmp_path, MAX_HELD_BYTES=str(8 * MB)) as (service, client):
        client.call("ModelInfer", REQUEST)
        before = peak = resident_bytes(service)
        message = bytes(8 * MB - 100)
        with ThreadPoolExecutor(100) as senders:
            sent = [senders.submit(client.send_bytes, message) for _ in range(100)]
            while not all(one.done() for one in sent):
                peak = max(peak, resident_bytes(service))
        codes = {one.result().code for one in sent}
        alive = len(rows(client.call("ModelInfer", REQUEST)))

    assert codes <= {CODE.INVALID_ARGUMENT, CODE.RESOURCE_EXHAUSTED, CODE.DEADLINE_EXCEEDED}
    assert alive == 1
    # Four that arrive, in pieces and joined; one that is decoded: joined, parsed, the tensor.
    assert peak - before < 2 * 4 * 8 * MB + 3 * 8 * MB + 64 * MB


def test_connections_beyond_the_limit_are_closed(tmp_path: Path) -> None:
    with grpc_service(tmp_path, MAX_CONNECTIONS="10") as (service, client), ExitStack() as stack:
        client.call("ServerLive")
        port = int(service.env["GRPC_PORT"])
        opened = [
            stack.enter_context(socket.create_connection((LOOPBACK, port))) for _ in range(30)
        ]
        for one in opened:
            one.settimeout(0.001)

        wait_until(lambda: sum(map(is_closed, opened)) >= 20, "twenty of thirty are closed")
        assert client.call("ServerLive").live


def is_closed(connection: socket.socket) -> bool:
    try:
        while data := connection.recv(1000):
            pass
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True
    return data == b""


def test_a_connection_that_says_nothing_is_closed(tmp_path: Path) -> None:
    with grpc_service(tmp_path) as (service, _):
        port = int(service.env["GRPC_PORT"])
        with socket.create_connection((LOOPBACK, port), timeout=60) as silent:
            while silent.recv(1000):
                pass
