"""A world with a hosts file of its own, where a test says what a name means: for child processes.

The C library reads /etc/hosts anew for every look-up. In a mount namespace of its own a process can
have another one there, without any rights outside of it and without anybody else noticing.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from elastic_yolo.lab.processes.stack import ROOT
from tests.support.unshare import find_unshare

NAME = "inference.test"
# Nothing but the hosts file is asked, so that no test depends on a DNS server.
_ENTER = """
set -e
mount --bind "$1/hosts" /etc/hosts
if [ -e /etc/nsswitch.conf ]; then mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf; fi
exec "$2" -W error -m tests.support.own_names "$1" "$3"
"""


@dataclass(frozen=True)
class Names:
    """What `NAME` means."""

    folder: Path

    def put(self, *ips: str) -> None:
        """Let the name have these addresses from now on."""
        (self.folder / "hosts").write_text("".join(f"{ip} {NAME}\n" for ip in ips))

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Let look-ups hang until the block ends, then find nothing; one at least has to."""
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        # Opening a pipe waits for somebody to write into it.
        subprocess.run(["mount", "--bind", pipe, "/etc/hosts"], check=True)  # noqa: S607
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", "/etc/hosts"], check=True)  # noqa: S607
        # Fails unless somebody waits, who then finds that a pipe is no file to look up names in.
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))


Scenario = Callable[[Names], Awaitable[None]]


def with_own_names(scenario: Scenario) -> Callable[[Path], None]:
    """Make a test of a scenario that runs in a process with a hosts file of its own."""

    def test(tmp_path: Path) -> None:
        (tmp_path / "hosts").touch()
        (tmp_path / "nsswitch.conf").write_text("hosts: files\n")
        where = f"{scenario.__module__}:{scenario.__name__}"
        ended = subprocess.run(
            [
                *find_unshare("names cannot be changed here"),
                "sh",
                "-c",
                _ENTER,
                "sh",
                tmp_path,
                sys.executable,
                where,
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr

    test.__name__, test.__doc__, test.__module__ = (
        scenario.__name__,
        scenario.__doc__,
        scenario.__module__,
    )
    test.scenario = scenario  # type: ignore[attr-defined]
    return test


def main() -> None:
    """Run one scenario, on the event loop that the services use."""
    folder, where = sys.argv[1:]
    module, _, name = where.partition(":")
    test = getattr(importlib.import_module(module), name)

    async def run() -> None:
        async with asyncio.timeout(90):
            await test.scenario(Names(Path(folder)))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


if __name__ == "__main__":
    main()
