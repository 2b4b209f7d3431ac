"""A web service of a test's own, in front of services that it shares; and how it answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from elastic_yolo.lab.processes.stack import ROOT, Service, Stack, free_port

SCENES = sorted(
    path for path in (ROOT / "client" / "images").iterdir() if path.name.startswith("scene-")
)


@contextmanager
def web_before(
    stack: Stack, log: Path, *, port: int | None = None, **env: str
) -> Iterator[Service]:
    """Run a further web service in front of a stack's preprocess."""
    settings = {"PREPROCESS_URL": stack.preprocess.url, **env}
    with Service("web", port or free_port(), settings, log) as web:
        web.wait_ready()
        yield web


def post_directly(url: str, picture: Path, **params: str) -> dict[str, Any]:
    """Return the service's own JSON for a picture."""
    answer = httpx.post(
        f"{url}/inference",
        content=picture.read_bytes(),
        headers={"Content-Type": "image/jpeg"},
        params=params,
        timeout=60,
    )
    value: dict[str, Any] = answer.raise_for_status().json()
    return value


def count_responses(service: Service, status: str) -> int:
    """Return how many pictures have been answered with a status, such as `200`."""
    counted = re.findall(
        rf'^elastic_yolo_requests_total{{.*route="/inference".*status="{status}".*}} ([\d.e+]+)$',
        service.get("/metrics").decode(),
        re.MULTILINE,
    )
    return int(sum(map(float, counted)))
