"""If the caller hangs up, all services stop working on its request."""

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


def test_all_services_stop_working_for_a_caller_that_hung_up(tmp_path: Path) -> None:
    """Inference is frozen, so the picture is in flight when its caller hangs up."""
    with Stack(model=write_tiny_model(tmp_path / "model"), logs=tmp_path) as stack:
        url = f"{stack.web.url}/inference"
        assert httpx.post(url, files={"image": JPEG}).status_code == 200
        os.kill(stack.inference.process.pid, signal.SIGSTOP)
        with socket.create_connection((LOOPBACK, stack.web.port)) as caller:
            head = "POST /inference HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
            caller.sendall(f"{head}Content-Length: {len(JPEG)}\r\n\r\n".encode() + JPEG)
            wait_until(lambda: in_flight(stack.preprocess.url) == 1, "the picture is in flight")
        wait_until(lambda: in_flight(stack.web.url) == 0, "web has stopped")
        wait_until(lambda: in_flight(stack.preprocess.url) == 0, "preprocess has stopped")
        os.kill(stack.inference.process.pid, signal.SIGCONT)
        wait_until(lambda: in_flight(stack.inference.url) == 0, "inference has stopped")

        again = httpx.post(url, files={"image": JPEG})
        metrics = httpx.get(f"{stack.web.url}/metrics").text

    assert again.status_code == 200
    assert 'route="/inference",service="web",status="499"} 1.0' in metrics
    logs = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert "Traceback" not in logs
