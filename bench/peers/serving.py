"""A peer's processes: started in its own environment, stopped together with their children."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from bench.peers.registry import Peer, Setting
from bench.peers.work import Settings
from bench.pipeline.turns import Candidate
from elastic_yolo.lab.load.wire import Target
from elastic_yolo.lab.processes.child import last_log_line, start_child, stop_child
from elastic_yolo.lab.processes.process_tree import family, thaw
from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT, free_port

_STOP_S = 10.0


class PeerFailed(Exception):
    """A peer's process ended; the message has the last line of its log."""


@contextmanager
def serving(
    peer: Peer, python: Path, setting: Setting, settings: Settings, logs: Path
) -> Iterator[Candidate]:
    """Start a peer's tiers, the last one first, and stop them at the end of the block.

    They may not be ready yet. `settings` are those that all tiers share.
    """
    with ExitStack() as stack:
        tiers: dict[str, int] = {}
        behind = ""
        for tier in reversed(peer.tiers):
            port = free_port()
            place = {"port": port, "tier": tier, "behind": behind}
            values = {**asdict(settings), **asdict(setting), **place}
            log = logs / f"{peer.name}-{tier}-{port}.log"
            process = _start(peer, python, values, log)
            stack.callback(_stop, process)
            tiers[tier] = process.pid
            behind = f"http://{LOOPBACK}:{port}"
        target = Target(f"{behind}/inference")
        ordered = {tier: tiers[tier] for tier in peer.tiers}
        yield Candidate(peer.name, str(setting), target, ordered, frozen_when_idle=True)


def check_alive(candidate: Candidate, logs: Path) -> None:
    """Raise PeerFailed, with the last line of a log, if a tier's first process has ended."""
    for tier, pid in candidate.tiers.items():
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            continue
        files = sorted(logs.glob(f"{candidate.name}-{tier}-*.log"), key=lambda p: p.stat().st_mtime)
        raise PeerFailed(f"{candidate.name}: {tier} ended: {last_log_line(files[-1])}")


def _start(
    peer: Peer, python: Path, values: dict[str, object], log: Path
) -> subprocess.Popen[bytes]:
    return start_child(
        [str(python), "server.py"],
        folder=peer.folder,
        env={
            **os.environ,
            "PEER": json.dumps(values),
            "PYTHONPATH": f"{peer.folder}:{ROOT}",
            "PATH": f"{python.parent}:{os.environ['PATH']}",
        },
        log=log,
        own_session=True,
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    thaw(process.pid)
    members = family(process.pid)
    stop_child(process, _STOP_S)
    # Some peers leave workers running.
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in members:
            with suppress(ProcessLookupError):
                if _is_running(pid):
                    os.kill(pid, number)
        # The kernel takes a moment for processes that are not our own children.
        _wait_until_gone(members)


def _wait_until_gone(pids: list[int]) -> None:
    until = time.monotonic() + _STOP_S
    while time.monotonic() < until and any(_is_running(pid) for pid in pids):
        time.sleep(0.05)


def _is_running(pid: int) -> bool:
    return (Path("/proc") / str(pid) / "exe").exists()
