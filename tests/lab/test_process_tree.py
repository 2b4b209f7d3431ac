"""Processes: their CPU and memory, stopping them, and ending them with their children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.peers.registry import Peer, Setting
from bench.peers.serving import PeerFailed, check_alive, serving
from bench.peers.work import Settings
from bench.pipeline.bare import choose_threshold
from elastic_yolo.detector.boxes import Detection
from elastic_yolo.lab.processes import process_tree as proc
from elastic_yolo.lab.processes.json_process import JsonProcess, ProcessFailed
from tests.support.waiting import wait_until

SPIN = "import os, subprocess, sys\nwhile True: pass"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SPIN!r}])"


@pytest.fixture
def parent_of_one_that_spins() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", PARENT], start_new_session=True)
    wait_until(lambda: len(proc.family(process.pid)) == 2, "it has started the one that spins")
    family = proc.family(process.pid)
    yield process.pid
    for pid in family:
        os.kill(pid, signal.SIGKILL)
    process.wait()


def is_stopped(pid: int) -> bool:
    return "\nState:\tT" in (Path("/proc") / str(pid) / "status").read_text()


def test_a_frozen_process_and_its_children_use_no_cpu(
    parent_of_one_that_spins: int,
) -> None:
    root = parent_of_one_that_spins
    wait_until(lambda: proc.cpu_s(root) >= 0.3, "it spins")

    proc.freeze(root)
    wait_until(lambda: all(is_stopped(pid) for pid in proc.family(root)), "all have stopped")
    before = proc.cpu_s(root)
    # Nothing can tell that nothing happens but time: thirty ticks of it.
    time.sleep(0.3)

    assert proc.cpu_s(root) == before
    proc.thaw(root)
    wait_until(lambda: proc.cpu_s(root) > before, "it spins again")


def test_shared_memory_counts_once_in_pss(parent_of_one_that_spins: int) -> None:
    held = proc.memory(parent_of_one_that_spins)

    assert 0 < held.pss_mb < held.rss_mb


def test_an_ended_process_has_no_memory_and_no_cpu() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()

    assert proc.memory(process.pid) == proc.Memory(0, 0)
    assert proc.cpu_s(process.pid) == 0


def test_the_last_line_of_an_ended_worker_is_quoted(tmp_path: Path) -> None:
    task = f'{{"picture": "{tmp_path / "none.jpg"}"}}'

    with (
        JsonProcess("bench.pipeline.bare", task) as bare,
        pytest.raises(ProcessFailed, match="No such"),
    ):
        bare.receive()


def test_a_load_client_reports_failures_and_continues(tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(b"picture")
    unreachable = {"target": {"url": "http://127.0.0.1:9/"}, "picture": str(tmp_path / "picture")}

    with JsonProcess("bench.pipeline.loader") as loader:
        for _ in range(2):
            with pytest.raises(ProcessFailed, match="refused"):
                loader.request(unreachable)


SERVER = """
import json, os, subprocess, sys
told = json.loads(os.environ["PEER"])
if told["model"] == "broken":
    sys.exit("no such model")
child = subprocess.Popen(["sleep", "600"])
with open(os.path.join(told["cache"], told["tier"]), "w") as file:
    file.write(f'{os.getpid()} {child.pid} {told["behind"]}')
child.wait()
"""
SETTING = Setting(workers=1, threads=1, streams=1)


def peer_at(folder: Path, model: str) -> tuple[Peer, Settings]:
    (folder / "small").mkdir()
    (folder / "small" / "server.py").write_text(SERVER)
    settings = Settings(
        model=model,
        cache=str(folder),
        precision="fp32",
        threshold=0.5,
        port=0,
        **vars(SETTING),
    )
    return Peer("small", tiers=("front", "back"), shelf=folder), settings


def test_a_peers_tiers_are_connected_and_leave_no_process(tmp_path: Path) -> None:
    peer, settings = peer_at(tmp_path, "model")

    with serving(peer, Path(sys.executable), SETTING, settings, tmp_path) as candidate:
        files = [tmp_path / "front", tmp_path / "back"]
        wait_until(lambda: all(f.is_file() and f.read_text() for f in files), "both have started")
        (front, child, behind), back = (file.read_text().split(" ") for file in files)
        assert candidate.tiers == {"front": int(front), "back": int(back[0])}
        assert behind.startswith("http://127.0.0.1:")
        assert back[2] == ""
        candidate.pause()

    assert not any((Path("/proc") / pid / "exe").exists() for pid in (front, child, back[1]))


def test_the_last_line_of_an_ended_peer_is_quoted(tmp_path: Path) -> None:
    peer, settings = peer_at(tmp_path, "broken")

    with serving(peer, Path(sys.executable), SETTING, settings, tmp_path) as candidate:
        for pid in candidate.tiers.values():
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

        with pytest.raises(PeerFailed, match="small: front ended: no such model"):
            check_alive(candidate, tmp_path)


def found(*scores: float) -> list[Detection]:
    return [Detection("bird", score, (0, 0, 1, 1)) for score in scores]


def test_few_detections_keep_the_models_threshold() -> None:
    assert choose_threshold(found(0.9, 0.8), 0.5) == 0.5


def test_of_many_detections_about_a_dozen_stay() -> None:
    high = [0.9 + number / 1000 for number in range(12)]
    low = [0.6 + number / 10_000 for number in range(1000)]

    assert choose_threshold(found(*low, *high), 0.5) == pytest.approx((0.9 + 0.6999) / 2)
