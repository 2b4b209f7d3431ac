"""A low limit on open files lowers the number of connections, by name, and nothing else fails."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from elastic_yolo.lab.processes.child import start_child
from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT, Service, free_port
from services.common.core.open_files import fit_connections
from services.inference.settings import InferenceSettings
from services.web.settings import WebSettings
from tests.support.log_lines import read_log
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model
from tests.support.waiting import wait_until

PICTURE = encode(plain(64, 48), "JPEG")
# Callers' connections to web and preprocess, which each need one to the next service, and to
# inference, which needs none: what a quarter of the limit, or at least 32 files, leaves.
FITTING = {64: (16, 32), 256: (96, 192), 1024: (384, 768)}


class LimitedService(Service):
    """A service whose process may open few files."""

    def start(self) -> None:
        """Start the process behind `ulimit`, which also lowers the hard limit."""
        limit = self.env["LIMIT"]
        self.process = start_child(
            ["sh", "-c", f'ulimit -n {limit} && exec "$0" -m services.{self.name}', sys.executable],
            folder=ROOT,
            env={**os.environ, "HOST": self.host, "PORT": str(self.port), **self.env},
            log=self.log,
            own_session=False,
            ends_with_parent=False,
        )


@contextmanager
def limited_stack(folder: Path, limit: int) -> Iterator[dict[str, LimitedService]]:
    """Run the three services with this limit on open files."""
    model = write_tiny_model(folder / "model")
    ports = {tier: free_port() for tier in ("inference", "preprocess", "web")}
    next_service = {
        "inference": {"MODEL_PATH": str(model)},
        "preprocess": {"INFERENCE_URL": f"http://{LOOPBACK}:{ports['inference']}"},
        "web": {"PREPROCESS_URL": f"http://{LOOPBACK}:{ports['preprocess']}"},
    }
    with ExitStack() as running:
        services = {
            tier: running.enter_context(
                LimitedService(
                    tier, port, {**next_service[tier], "LIMIT": str(limit)}, folder / f"{tier}.log"
                )
            )
            for tier, port in ports.items()
        }
        for service in services.values():
            service.wait_ready()
        yield services


@pytest.mark.long
@pytest.mark.parametrize("limit", FITTING)
def test_more_connections_than_files_allow_are_refused_by_name_and_pictures_work(
    tmp_path: Path, limit: int
) -> None:
    fitting, fitting_inference = FITTING[limit]
    with limited_stack(tmp_path, limit) as services, ExitStack() as opened:
        web = services["web"]
        with httpx.Client(timeout=60) as client:
            files = {"image": PICTURE}
            assert client.post(f"{web.url}/inference", files=files).status_code == 200
            # The client's own connection is one of them.
            wait_until(lambda: connections(web) == 1, "those of the start are closed")
            held = [opened.enter_context(connect(web)) for _ in range(fitting - 1)]
            surplus = [opened.enter_context(connect(web)) for _ in range(limit)]

            refusals = {answer_to(one) for one in surplus}
            with_all_open = client.post(f"{web.url}/inference", files=files)
            for one in held:
                one.close()
            wait_until(lambda: connections(web) == 1, "the held connections are closed")
        again = httpx.post(f"{web.url}/inference", files=files, timeout=60)

    refusal = (
        f"open files: the limit of {limit} leaves room for {fitting} connections, "
        "and more are open: try later"
    )
    assert refusals == {(503, refusal)}
    assert with_all_open.status_code == again.status_code == 200
    for tier, service in services.items():
        [warning] = [line for line in lines_of(service) if line["level"] == "warning"]
        assert warning["event"].startswith("limit on open files is low")
        assert warning["open_files"] == limit
        assert warning["accepted"] == (fitting_inference if tier == "inference" else fitting)


def test_too_few_files_for_any_service_end_the_start_with_one_line(tmp_path: Path) -> None:
    env = {"PREPROCESS_URL": "http://127.0.0.1:1", "LIMIT": "36"}
    service = LimitedService("web", free_port(), env, tmp_path / "log")
    service.start()

    assert service.process.wait(timeout=60) == 1
    assert (tmp_path / "log").read_text() == (
        "open files: the limit is 36, at least 40 are needed\n"
    )


@pytest.mark.parametrize(
    ("limit", "settings", "expected"),
    [
        (4352, WebSettings(preprocess_url="http://a"), 2048),
        (4351, WebSettings(preprocess_url="http://a"), 2047),
        (2304, InferenceSettings(model_path="/m"), 2048),
        (64, WebSettings(preprocess_url="http://a", max_connections=1), 1),
        (40, WebSettings(preprocess_url="http://a"), 4),
    ],
)
def test_what_fits_depends_on_the_connections_to_the_next_service(
    limit: int, settings: WebSettings | InferenceSettings, expected: int
) -> None:
    """In a process of its own: a hard limit cannot be raised again."""
    program = (
        "import resource, sys; from pathlib import Path;"
        "from tests.services.test_open_files import fitting;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}));"
        f"print(fitting({type(settings).__name__!r}, {settings.max_connections}))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert ended.stdout.split()[-1] == str(expected)


def fitting(kind: str, asked: int) -> int:
    settings: WebSettings | InferenceSettings = (
        WebSettings(preprocess_url="http://a", max_connections=asked)
        if kind == "WebSettings"
        else InferenceSettings(model_path=Path("/m"), max_connections=asked)
    )
    return fit_connections(settings).connections


def connect(service: Service) -> socket.socket:
    return socket.create_connection((LOOPBACK, service.port), timeout=60)


def answer_to(connection: socket.socket) -> tuple[int, str]:
    """Return status and detail of the response that arrives without a request."""
    received = b""
    while data := connection.recv(65536):
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["detail"]


def connections(service: Service) -> int:
    """Return how many connections to a service's port are established."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    port, established = f":{service.port:04X}", "01"
    return sum(row[1].endswith(port) and row[3] == established for row in rows)


def lines_of(service: Service) -> list[dict[str, Any]]:
    assert service.log is not None
    return read_log(service.log)
