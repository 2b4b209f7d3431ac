"""Provision into a store on a disk that becomes full, in a process that may mount one.

`python -m tests.provision.small_disk FOLDER LIMIT` prints the results for each amount of space.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from elastic_yolo.cli.__main__ import main as elastic_yolo
from elastic_yolo.durable import UNFINISHED
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.reader import resolve
from elastic_yolo.store.reference import Reference
from elastic_yolo.store.writer import verify_blob
from tests.support.models import wanted, write_config, write_source
from tests.support.servers import Site, serving

PAGE = 4096
# More pages, and more files, than a second version needs.
_STEPS = 24


@dataclass
class Attempt:
    """Result of a run with limited space, and of the next run with enough space."""

    room: int
    status: int
    said: str
    seen: str
    left_over: list[str]
    status_with_room: int
    seen_with_room: str


def main() -> None:
    """Try every amount of space, in pages or in inodes."""
    folder, limit = Path(sys.argv[1]), sys.argv[2]
    disk = folder / "disk"
    disk.mkdir()
    write_source(folder / "one")
    second = write_source(folder / "two", cells=2)
    # Larger than all other files, so that the disk also becomes full during the download.
    (second / "tiny.cfg").write_text(
        "# " + "x" * 5 * PAGE + "\n" + (second / "tiny.cfg").read_text()
    )
    attempts = []
    with serving(Site({path.name: path.read_bytes() for path in second.iterdir()})) as site:
        site.chunked = True
        first = write_config(folder / "first.yaml", wanted(folder / "one"))
        next_one = write_config(folder / "next.yaml", wanted(site.url, version="2"))
        for room in range(_STEPS):
            with _mounted(disk):
                _pull(disk, first)
                _leave(disk, limit, room)
                status, said = _pull(disk, next_one)
                seen, left_over = _seen(disk), _left_over(disk)
                _mount("-o", "remount,size=64M,nr_inodes=10000", disk)
                attempts.append(
                    Attempt(
                        room, status, said, seen, left_over, _pull(disk, next_one)[0], _seen(disk)
                    )
                )
    print(json.dumps([asdict(attempt) for attempt in attempts]))


@contextlib.contextmanager
def _mounted(disk: Path) -> Iterator[None]:
    _mount("-t", "tmpfs", "-o", "size=64M,nr_inodes=10000", "tmpfs", disk)
    try:
        yield
    finally:
        subprocess.run(["umount", disk], check=True)  # noqa: S607


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)  # noqa: S607


def _leave(disk: Path, limit: str, room: int) -> None:
    """Limit the disk to `room` free pages or inodes."""
    found = os.statvfs(disk)
    if limit == "pages":
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        _mount("-o", f"remount,size={used + room * PAGE}", disk)
    else:
        _mount("-o", f"remount,nr_inodes={found.f_files - found.f_ffree + room}", disk)


def _pull(store: Path, config: Path) -> tuple[int, str]:
    """Run the command; return its exit code and output."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = elastic_yolo(["provision", "--store", str(store), "--config", str(config)])
    return status, said.getvalue()


def _seen(store: Path) -> str:
    """Return the version that a reader resolves, after checking every byte."""
    found = resolve(Reference(store, "tiny", "stable"))
    for name, file in found.record.files.items():
        verify_blob(Layout(store), file.digest)
        assert (found.folder / name).read_bytes() == Layout(store).blob(file.digest).read_bytes()
    return found.record.version


def _left_over(store: Path) -> list[str]:
    return [path.name for path in store.rglob(f"{UNFINISHED}*")]


if __name__ == "__main__":
    main()
