"""Tests in a child process with its own /etc/hosts, where they say what a host name resolves to.

The C library reads /etc/hosts at every lookup. In a mount namespace of its own, a process can have
another file there, without privileges outside of it and without an effect on other processes.
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
_TIMEOUT_S = 100
# Lookups use the hosts file alone, so that no test depends on a DNS server.
_ENTER = """
set -e
mount --bind "$1/hosts" /etc/hosts
if [ -e /etc/nsswitch.conf ]; then mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf; fi
exec "$2" -W error -m tests.support.hosts_file "$1" "$3"
"""


@dataclass(frozen=True)
class HostsFile:
    """The hosts file of the child process; it has one name, `NAME`."""

    folder: Path

    def set(self, *ips: str) -> None:
        """Let the name resolve to these addresses from now on."""
        (self.folder / "hosts").write_text("".join(f"{ip} {NAME}\n" for ip in ips))

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Let lookups hang until the block ends, then fail; at least one must be hanging then."""
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        # Opening a pipe blocks until a writer opens it too.
        subprocess.run(["mount", "--bind", pipe, "/etc/hosts"], check=True)  # noqa: S607
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", "/etc/hosts"], check=True)  # noqa: S607
        # Fails unless a lookup is blocked, which then finds an empty file.
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))


HostsTest = Callable[[HostsFile], Awaitable[None]]


def with_own_hosts_file(test: HostsTest) -> Callable[[Path], None]:
    """Run an async test in a child process that has its own hosts file."""

    def run_in_child(tmp_path: Path) -> None:
        (tmp_path / "hosts").touch()
        (tmp_path / "nsswitch.conf").write_text("hosts: files\n")
        command = [
            *find_unshare("lookups with a changing hosts file are NOT tested"),
            *("sh", "-c", _ENTER, "sh"),
            tmp_path,
            sys.executable,
            f"{test.__module__}:{test.__name__}",
        ]
        child = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
        assert child.returncode == 0, child.stdout + child.stderr

    run_in_child.__name__ = test.__name__
    run_in_child.__doc__ = test.__doc__
    run_in_child.__module__ = test.__module__
    run_in_child.in_child = test  # type: ignore[attr-defined]
    return run_in_child


def main() -> None:
    """Run one test, on the event loop that the services use."""
    folder, where = sys.argv[1:]
    module, _, name = where.partition(":")
    test: HostsTest = getattr(importlib.import_module(module), name).in_child

    async def run() -> None:
        async with asyncio.timeout(_TIMEOUT_S - 10):
            await test(HostsFile(Path(folder)))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


if __name__ == "__main__":
    main()
