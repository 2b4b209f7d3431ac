"""Callers who leave: their work is given up in every tier, and counted as theirs."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import httpx

from elastic_yolo.lab.processes.stack import LOOPBACK, Stack
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model
from tests.support.waiting import in_flight, wait_until

JPEG = encode(plain(64, 48), "JPEG")


def test_work_for_a_caller_who_has_gone_is_given_up_in_every_tier(tmp_path: Path) -> None:
    """Inference is frozen, so that the picture is on its way when its caller leaves."""
    with Stack(model=write_tiny_model(tmp_path / "model"), logs=tmp_path) as stack:
        url = f"{stack.web.url}/inference"
        assert httpx.post(url, files={"image": JPEG}).status_code == 200
        os.kill(stack.inference.process.pid, signal.SIGSTOP)
        with socket.create_connection((LOOPBACK, stack.web.port)) as caller:
            head = "POST /inference HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
            caller.sendall(f"{head}Content-Length: {len(JPEG)}\r\n\r\n".encode() + JPEG)
            wait_until(lambda: in_flight(stack.preprocess.url) == 1, "the picture is on its way")
        wait_until(lambda: in_flight(stack.web.url) == 0, "web has given up")
        wait_until(lambda: in_flight(stack.preprocess.url) == 0, "preprocess has given up")
        os.kill(stack.inference.process.pid, signal.SIGCONT)
        wait_until(lambda: in_flight(stack.inference.url) == 0, "inference has nothing to do")

        again = httpx.post(url, files={"image": JPEG})
        metrics = httpx.get(f"{stack.web.url}/metrics").text

    assert again.status_code == 200
    assert 'route="/inference",service="web",status="499"} 1.0' in metrics
    logs = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert "Traceback" not in logs
