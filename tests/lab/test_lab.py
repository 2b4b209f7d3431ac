"""The lab itself: real services, scaled by the autoscaler, under load."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest

from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.lab.timeline import Sample, read_timeline
from tests.cli.running import run

LAB = [sys.executable, "-m", "elastic_yolo.cli", "hpa-lab"]


def of(samples: list[Sample], tier: str) -> list[int]:
    """Return the pods of a tier as they came and went."""
    replicas = [sample.replicas for sample in samples if sample.tier == tier]
    return [number for number, _ in groupby(replicas)]


def test_under_load_inference_goes_up_and_comes_back_and_nothing_is_lost(tmp_path: Path) -> None:
    """Thirty times as fast, so that two minutes of waiting are four seconds."""
    timeline = tmp_path / "timeline.jsonl"
    ended = subprocess.run(
        [*LAB, "--speed", "30", "--max-replicas", "2", "--scale", "0.2", "--duration", "24",
         "--json", "--timeline", timeline],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert report["pictures"] > 20
    assert report["failed"] == 0
    assert all(tier["crashes"] == 0 for tier in report["tiers"])
    samples = read_timeline(timeline)
    # On a busy machine the load may begin again before the end.
    assert of(samples, "inference")[:3] == [1, 2, 1]
    assert {sample.target_percent for sample in samples} == {70}
    up = next(one for one in samples if one.tier == "inference" and one.desired > one.replicas)
    assert f"% of the request where 70 % is wanted: 1 -> {up.desired}" in up.why
    assert up.cpu_percent is not None
    assert up.cpu_percent > 77
    assert "1/1 ready, 2 wanted" in ended.stderr


def child(parent: int, tier: str) -> int:
    """Return the process of a tier that the lab has started."""
    pids = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids}
    return next(pid for pid, command in commands.items() if f"services.{tier}".encode() in command)


def test_a_pod_that_is_killed_is_replaced_and_ctrl_c_ends_all_in_order(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*LAB, "--load", "none", "--max-replicas", "1", "--logs", tmp_path],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        said = next(line for line in process.stdout if line.startswith("target: "))
        port = int(said.split(":")[-1].split("/")[0])
        socket.create_connection(("127.0.0.1", port)).close()
        os.kill(child(process.pid, "inference"), signal.SIGKILL)
        said = next(line for line in process.stdout if "takes its place" in line)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    assert said.startswith("inference-1 ended with -9")
    assert out.endswith(" without a load of its own\n")
    assert {path.name for path in tmp_path.glob("*.log")} == {
        "web-1.log",
        "preprocess-1.log",
        "inference-1.log",
        "inference-2.log",
    }
    # Whoever ended by itself has said why.
    assert not any("Traceback" in path.read_text() for path in tmp_path.glob("*.log"))


def test_a_model_that_is_none_ends_it_with_one_line(tmp_path: Path) -> None:
    status, _, err = run("hpa-lab", "--model", tmp_path, "--max-replicas", "1")

    assert status == 1
    assert "expected exactly one .cfg file" in err.splitlines()[-1]


def test_a_simulation_says_what_comes_of_it(tmp_path: Path) -> None:
    timeline = tmp_path / "timeline.jsonl"

    status, out, err = run("hpa-lab", "--simulate", "--json", "--timeline", timeline)

    assert (status, err) == (0, "")
    totals = json.loads(out)
    assert totals["pictures"] == 264_375
    assert [tier["peak_replicas"] for tier in totals["tiers"]] == [3, 4, 5]
    assert of(read_timeline(timeline), "web") == [1, 3, 1]


def test_a_simulation_tells_every_change_and_a_summary() -> None:
    status, out, _ = run("hpa-lab", "--simulate", "--load", "spike", "--rate", "100")

    assert status == 0
    assert "  1/1 ready, 2 wanted     " in out
    assert "pictures in 30:00, 0 of them refused" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--simulate", "--load", "none"],
        ["--load", "flood"],
        ["--rate", "0"],
        ["--rate", "501"],
        ["--speed", "-1"],
        ["--port", "70000"],
        ["--cost-ms", "1,2"],
        ["--cost-ms", "1,2,x"],
        ["--timeline", "/absent/t.jsonl"],
    ],
)
def test_wrong_usage_ends_with_two(arguments: list[str]) -> None:
    status, out, err = run("hpa-lab", *arguments)

    assert (status, out) == (2, "")
    assert "usage: elastic-yolo hpa-lab" in err


def test_manifests_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    status, out, err = run("hpa-lab", "--simulate", "--hpa", tmp_path)

    assert (status, out) == (1, "")
    assert err == f"elastic-yolo: {tmp_path}: no HorizontalPodAutoscaler in it\n"
