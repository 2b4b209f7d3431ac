"""With ACCESS_TOKEN, requests for predictions require the token; probes do not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from elastic_yolo.lab.processes.stack import ROOT, Stack
from tests.support.pictures import encode, plain
from tests.support.raw import status_without_body
from tests.support.tiny import write_tiny_model
from tests.support.versions import sample

TOKEN = "a long enough token"  # noqa: S105
PICTURE = {"image": encode(plain(64, 48), "JPEG")}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("access")
    env = {"web": {"ACCESS_TOKEN": TOKEN}}
    with Stack(model=write_tiny_model(folder / "model"), logs=folder, env=env) as running:
        yield running


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
def test_a_request_with_the_token_is_accepted(stack: Stack, scheme: str) -> None:
    answer = httpx.post(
        f"{stack.web.url}/inference", files=PICTURE, headers={"Authorization": f"{scheme} {TOKEN}"}
    )

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "sent",
    [None, "Bearer x", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, f"Bearer{TOKEN}", "Bearer"],
)
def test_a_request_without_the_right_token_is_refused(stack: Stack, sent: str | None) -> None:
    headers = {} if sent is None else {"Authorization": sent}
    refused = httpx.post(f"{stack.web.url}/inference", files=PICTURE, headers=headers)

    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert TOKEN not in refused.text


def test_probes_and_metrics_require_no_token(stack: Stack) -> None:
    for path in ("/livez", "/readyz", "/health/ping", "/health/status", "/metrics"):
        assert httpx.get(f"{stack.web.url}{path}").status_code == 200, path


def test_the_client_sends_the_token_from_its_environment(stack: Stack, tmp_path: Path) -> None:
    picture = tmp_path / "square.jpg"
    picture.write_bytes(PICTURE["image"])
    command = [sys.executable, "client/client.py", "--url", stack.web.url, "--image", str(picture)]
    with_token, without = (
        subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **token},
            capture_output=True,
            text=True,
            check=False,
        )
        for token in ({"ELASTIC_YOLO_TOKEN": TOKEN}, {})
    )

    assert with_token.returncode == 0, with_token.stderr
    assert without.returncode == 1
    assert "401" in without.stdout + without.stderr


def test_a_refused_picture_counts_as_a_request_to_its_route(stack: Stack) -> None:
    """So that the error rate of the route, and the live view, have it."""
    counted = partial(
        sample, stack.web, "elastic_yolo_requests_total", route="/inference", status="401"
    )
    before = counted()

    httpx.post(f"{stack.web.url}/inference", files=PICTURE)

    assert counted() == before + 1


def test_a_request_without_the_token_is_refused_before_its_body(stack: Stack) -> None:
    """Otherwise anyone could make the service hold megabytes."""
    assert status_without_body(stack.web, "/inference", 10_000_000) == 401
