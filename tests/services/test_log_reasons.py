"""The log says why a request failed and which process of the next service failed it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from elastic_yolo.lab.processes.stack import ROOT, Service, Stack, free_port
from services.common.observe.log_limit import LINES, LogLimit
from services.common.observe.logs import get_logger
from tests.support.log_lines import read_log
from tests.support.misbehaving import until
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model
from tests.support.waiting import wait_until

JPEG = encode(plain(64, 48), "JPEG")
TOKEN = "a long enough token"  # noqa: S105


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("reasons")
    env = {"web": {"ACCESS_TOKEN": TOKEN}}
    with Stack(model=write_tiny_model(folder / "model"), logs=folder, env=env) as running:
        yield running


def post(stack: Stack, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "image/jpeg"}
    sent = {"content": JPEG, "headers": headers, "timeout": 60, **options}
    return httpx.post(f"{stack.web.url}/inference", **sent)


def lines(service: Service) -> list[dict[str, Any]]:
    """Return the complete lines of a service's log."""
    assert service.log is not None
    return read_log(service.log)


def line_of(service: Service, answer: httpx.Response) -> dict[str, Any]:
    """Return the line of the request that a response belongs to."""
    uid = answer.headers["x-request-id"]

    def found() -> list[dict[str, Any]]:
        return [one for one in lines(service) if one.get("uid") == uid]

    wait_until(lambda: bool(found()), "the request is logged")
    [line] = found()
    return line


@pytest.mark.parametrize(
    ("sent", "status", "reason", "detail"),
    [
        ({"content": b"no picture"}, 415, "not_a_picture", "not"),
        ({"params": {"threshold": "7"}}, 422, "parameter_out_of_range", "threshold: expected"),
        ({"params": {"model": "other"}}, 404, "tier_behind", "no model 'other' here"),
        ({"headers": {"X-Timeout-Ms": "soon"}}, 400, "malformed_request", "X-Timeout-Ms"),
        ({"headers": {"Authorization": "Bearer of news"}}, 401, "not_allowed", "not known"),
    ],
)
def test_the_line_of_a_failed_request_has_reason_and_detail(
    stack: Stack, sent: dict[str, Any], status: int, reason: str, detail: str
) -> None:
    answer = post(stack, **sent)
    line = line_of(stack.web, answer)

    assert answer.status_code == line["status"] == status
    assert line["reason"] == reason
    assert detail in line["detail"]
    assert TOKEN not in json.dumps(line)
    assert "news" not in json.dumps(line)


def test_the_line_of_a_request_that_succeeded_has_none(stack: Stack) -> None:
    line = line_of(stack.web, post(stack))

    assert line["status"] == 200
    assert not line.keys() & {"reason", "detail", "peer", "endpoint", "peer_failure"}


def test_what_a_caller_chooses_is_cut_and_escaped(stack: Stack) -> None:
    path = "/%1b[31m%c2%9b%e2%80%ae" + "a" * 10_000
    answer = httpx.get(f"{stack.web.url}{path}", timeout=60)
    line = line_of(stack.web, answer)

    assert answer.status_code == 404
    assert line["reason"] == "no_such_request"
    assert line["path"].startswith("/\\x1b[31m\\x9b\\u202e")
    assert len(line["path"]) < 400


@pytest.mark.long
def test_a_killed_process_is_named_in_its_callers_logs_and_so_is_its_return(
    tmp_path: Path,
) -> None:
    with Stack(model=write_tiny_model(tmp_path / "model"), logs=tmp_path) as stack:
        assert post(stack).status_code == 200
        stack.inference.process.kill()
        stack.inference.process.wait()
        failed = post(stack)
        in_web, in_preprocess = (line_of(one, failed) for one in (stack.web, stack.preprocess))
        again = Service("inference", stack.inference.port, stack.inference.env, tmp_path / "again")
        with again:
            again.wait_ready()
            wait_until(lambda: post(stack).status_code == 200, "pictures work again")
            events = ("endpoint ejected", "endpoint serving")
            wait_until(
                lambda: len([one for one in lines(stack.preprocess) if one["event"] in events]) > 1,
                "the return is logged",
            )
        [away, back] = [one for one in lines(stack.preprocess) if one["event"] in events]

    inference, preprocess = (f"127.0.0.1:{one.port}" for one in (stack.inference, stack.preprocess))
    assert failed.status_code == 503
    assert inference not in failed.text
    assert (in_web["reason"], in_web["detail"]) == (
        "tier_behind",
        "the inference service cannot be reached",
    )
    assert (in_web["peer"], in_web["endpoint"]) == ("preprocess", preprocess)
    assert in_web["peer_failure"] == "status 503"
    assert (in_preprocess["reason"], in_preprocess["peer"], in_preprocess["endpoint"]) == (
        "unavailable",
        "inference",
        inference,
    )
    assert in_preprocess["peer_failure"]
    assert (away["level"], away["peer"], away["endpoint"]) == ("warning", "inference", inference)
    assert away["why"]
    assert (back["peer"], back["endpoint"]) == ("inference", inference)
    assert back["why"].startswith("ready again after")


@pytest.mark.anyio
async def test_of_many_lines_of_one_kind_the_first_are_logged_and_the_others_counted() -> None:
    get_logger.cache_clear()
    with capture_logs() as logged:
        limit = LogLimit(period_s=0.05)
        passed = [limit.passes("request", "503") for _ in range(1000)]
        other = limit.passes("request", "400")
        await until(lambda: bool(logged), "the period ends")
        next_period = limit.passes("request", "503")
    get_logger.cache_clear()

    assert passed == [True] * LINES + [False] * (1000 - LINES)
    assert other
    assert [(one["event"], one["kind"], one["lines"]) for one in logged] == [
        ("log lines held back", "request 503", 1000 - LINES)
    ]
    assert next_period


def test_an_outage_does_not_flood_the_log(tmp_path: Path) -> None:
    env = {"PREPROCESS_URL": "http://127.0.0.1:1", "LOG_LEVEL": "info", "HOLD_S": "0"}
    web = Stack(model="/unused", logs=tmp_path, env={"web": env}).web
    with web, httpx.Client(timeout=60) as client:
        wait_until(lambda: answers(client, f"{web.url}/livez"), "web is alive")
        statuses = {
            client.post(
                f"{web.url}/inference", content=JPEG, headers={"Content-Type": "image/jpeg"}
            ).status_code
            for _ in range(20 * LINES)
        }
    failed = [one for one in lines(web) if one["event"] == "request"]

    assert statuses == {503}
    # Of this many requests the last may be in a further period, or in two on a busy machine.
    assert LINES <= len(failed) < 10 * LINES


def answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 200
    except httpx.TransportError:
        return False


_PROGRAM = """
from services.common.observe.logs import configure_logs, get_logger
configure_logs("web", "info")
get_logger().info("request", detail="one\\ntwo\\r\\x1b[2J\\x7f\\x9b\\u202eż\\udc80")
"""


@pytest.mark.parametrize("terminal", [True, False])
def test_control_characters_are_escaped_in_both_forms_of_the_log(*, terminal: bool) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", _PROGRAM]
    ended = subprocess.run(
        command,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=theirs if terminal else subprocess.PIPE,
        env={**os.environ, "NO_COLOR": "1"},
        check=True,
    )
    os.close(theirs)
    written = os.read(ours, 65536) if terminal else ended.stderr
    os.close(ours)

    escaped = r"one\ntwo\r\x1b[2J\x7f\x9b\u202eż\udc80"
    if terminal:
        assert f"detail={escaped}" in re.sub("\x1b\\[[0-9]*m", "", written.decode())
        assert written.count(b"\n") == 1
    else:
        assert json.loads(written)["detail"] == escaped


def test_a_log_that_cannot_be_written_fails_no_request(tmp_path: Path) -> None:
    """Every write to /dev/full fails, as on a full disk."""
    env = {"MODEL_PATH": str(write_tiny_model(tmp_path / "tiny"))}
    with Service("inference", free_port(), env, Path("/dev/full")) as service:
        service.wait_ready()
        found = httpx.post(f"{service.url}/v2/models/tiny/infer", content=b"{}")
        nothing = httpx.get(f"{service.url}/nowhere")

    assert (found.status_code, nothing.status_code) == (400, 404)
    assert service.process.returncode == 0
