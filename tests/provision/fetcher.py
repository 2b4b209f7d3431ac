"""A Download for tests, and content to download."""

from __future__ import annotations

import random
from pathlib import Path

from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.durable import make_folder
from elastic_yolo.provision.download import Download
from elastic_yolo.store.errors import StoreFull
from elastic_yolo.store.layout import Layout

CONTENT = random.Random(1).randbytes(300_000)  # noqa: S311
DIGEST = digest_of_bytes(CONTENT)


class Fetcher:
    """A Download into a folder that records its pauses instead of waiting."""

    def __init__(self, folder: Path, room: int = 10**9, **options: float) -> None:
        """Fetch into a store at `folder` with space for `room` bytes."""
        self.pauses: list[float] = []
        self.seen: list[tuple[str, int, int]] = []
        self.layout = Layout(folder)
        make_folder(folder)

        def check(size: int) -> None:
            if size > room:
                raise StoreFull("no room")

        self.download = Download(
            self.layout,
            lambda name, done, total: self.seen.append((name, done, total)),
            check,
            sleep=self.pauses.append,
            **options,
        )

    def fetch(self, address: str, digest: str | None = DIGEST, *, fallback: bool = False) -> bytes:
        path, found = self.download.fetch(address, "file", digest, fallback=fallback)
        content = path.read_bytes()
        assert found == digest_of_bytes(content)
        return content
