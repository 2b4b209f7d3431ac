"""Preprocess and web with a table of routes in a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from elastic_yolo.lab.processes.stack import Service, free_port
from tests.support.pictures import encode, plain
from tests.support.versions import sample
from tests.support.waiting import wait_until

JPEG = encode(plain(64, 48), "JPEG")


@dataclass(frozen=True)
class Routed:
    """The services in front of the back ends, and the table that they follow."""

    web: Service
    preprocess: Service
    table: Path

    def process(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        picture: bytes = JPEG,
        **params: str,
    ) -> httpx.Response:
        """Send a picture to preprocess, as web does."""
        url = f"{self.preprocess.url}/process"
        return httpx.post(url, content=picture, headers=headers, params=params, timeout=30)

    def detect(
        self, *, headers: Mapping[str, str] | None = None, picture: bytes = JPEG, **params: str
    ) -> httpx.Response:
        """Send a picture to web."""
        url = f"{self.web.url}/inference"
        files = {"image": picture}
        return httpx.post(url, files=files, headers=headers, params=params, timeout=30)

    def write(self, table: Mapping[str, Any] | str) -> None:
        """Replace the table at once, as an editor or a ConfigMap does."""
        write_table(self.table, table)

    def wait_taken(self, since: float) -> None:
        """Return when a table has been taken after `since`, which is a value of `taken_at`."""
        wait_until(lambda: self.taken_at() > since, "the table is taken")

    def taken_at(self) -> float:
        """Return when the table in use was taken."""
        return sample(self.preprocess, "elastic_yolo_routes_loaded_timestamp_seconds{")

    def is_valid(self) -> bool:
        """Return whether the latest table is in use."""
        return sample(self.preprocess, "elastic_yolo_routes_valid{") == 1

    def pictures(self, backend: str) -> float:
        """Return how many pictures a back end was given."""
        return sample(self.preprocess, "elastic_yolo_routed_pictures_total{", backend=backend)

    def log(self) -> str:
        """Return what preprocess has logged."""
        assert self.preprocess.log is not None
        return self.preprocess.log.read_text()


def write_table(path: Path, table: Mapping[str, Any] | str) -> None:
    """Write a table beside its place, and move it there."""
    # JSON is YAML, and has no aliases for lists that occur twice.
    text = table if isinstance(table, str) else json.dumps(table, indent=1)
    draft = path.with_suffix(".new")
    draft.write_text(text)
    os.replace(draft, path)  # noqa: PTH105  # atomic


@contextmanager
def inference(folder: Path, model: Path, **env: str) -> Iterator[Service]:
    """Run one inference service until the block ends; it is ready."""
    port = free_port()
    settings = {"MODEL_PATH": str(model), **env}
    with Service("inference", port, settings, folder / f"inference-{port}.log") as service:
        service.wait_ready()
        yield service


@contextmanager
def routed(
    folder: Path, table: Mapping[str, Any] | None, routes: str = "", **env: str
) -> Iterator[Routed]:
    """Run preprocess with a table in a file, or another value of ROUTES, and web in front."""
    path = folder / "routes.yaml"
    if table is not None:
        write_table(path, table)
    settings = {"ROUTES": routes or str(path), **env}
    with ExitStack() as running:
        preprocess = Service("preprocess", free_port(), settings, folder / "preprocess.log")
        web = Service("web", free_port(), {"PREPROCESS_URL": preprocess.url}, folder / "web.log")
        for service in (preprocess, web):
            running.enter_context(service)
            service.wait_ready()
        yield Routed(web, preprocess, path)
