"""Run the commands that write a store, or fill a cache, on a disk that is full.

`python -m tests.provision.full_store FOLDER` prints status and output of each, in a process that
may mount a disk.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from elastic_yolo.detector.engines.choose import EngineOptions, build_engine
from elastic_yolo.detector.model import read_model
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT
from tests.support.models import wanted, write_config, write_source

_KEPT = 64 * 1024


def main() -> None:
    """Fill the disk, try every command, make room, and try the rollback again."""
    folder = Path(sys.argv[1])
    store, cache = folder / "store", folder / "cache"
    found: dict[str, object] = {}
    for disk in (store, cache):
        disk.mkdir()
        _mount("-t", "tmpfs", "-o", "size=16M", "tmpfs", disk)
    configs = [
        write_config(
            folder / f"{number}.yaml",
            wanted(write_source(folder / str(number), number), version=str(number)),
        )
        for number in (1, 2, 3)
    ]
    for config in configs[:2]:
        assert _run("pull", store, "--config", str(config))[0] == 0
    filler = store / "filler"
    _fill(filler)
    found["pull"] = _run("pull", store, "--config", str(configs[2]))
    found["rollback"] = _run("rollback", store, "tiny")
    found["gc"] = _run("gc", store, "--keep", "1")
    empty = store / "new store"
    found["new store"] = _run("pull", empty, "--config", str(configs[0]))
    filler.unlink()
    found["rollback with room"] = _run("rollback", store, "tiny")

    _mount("-o", "remount,size=4k", cache)
    prepare = ("--config", str(configs[1]), "--cache", str(cache))
    found["pull with a full cache"] = _run("pull", store, *prepare)
    _mount("-o", "remount,size=16M", cache)
    found["pull with room in the cache"] = _run("pull", store, *prepare)
    _mount("-o", "remount,size=1M", cache)
    # As a service does: it works without the cache, and says why it has none.
    build_engine(read_model(DEMO_MODEL), EngineOptions(threads=1, precision="fp32", cache=cache))
    print(json.dumps(found))


def _run(action: str, store: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "elastic_yolo.cli", "provision", action]
    ended = subprocess.run(
        [*command, *arguments, "--store", str(store)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


def _fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        for size in (_KEPT, 4096):
            try:
                while True:
                    file.write(os.urandom(size))
            except OSError:
                continue


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)  # noqa: S607


if __name__ == "__main__":
    main()
