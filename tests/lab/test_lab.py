"""The lab with real services, and the command around it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from elastic_yolo.cli.__main__ import main
from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.lab.timeline import Sample, read_timeline
from tests.support.command import run
from tests.support.live import watching

LAB = [sys.executable, "-m", "elastic_yolo.cli", "hpa-lab"]


def of(samples: list[Sample], tier: str) -> list[int]:
    """Return the changing number of pods of a tier."""
    replicas = [sample.replicas for sample in samples if sample.tier == tier]
    return [number for number, _ in groupby(replicas)]


def run_lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the lab, which must succeed, with its report as JSON."""
    ended = subprocess.run(
        [*LAB, *arguments, "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended


@pytest.mark.long
def test_under_load_inference_scales_up_and_down_and_loses_nothing(tmp_path: Path) -> None:
    """At thirty times the speed two minutes take four seconds. The target needs little load."""
    timeline = tmp_path / "timeline.jsonl"
    ended = run_lab(
        "--speed", "30", "--max-replicas", "2", "--target", "40", "--duration", "24",
        "--timeline", str(timeline),
    )  # fmt: skip

    report = json.loads(ended.stdout)
    assert report["pictures"] > 20
    assert report["failed"] == 0
    assert all(tier["crashes"] == 0 for tier in report["tiers"])
    samples = read_timeline(timeline)
    # On a busy machine the load may begin again before the end.
    assert of(samples, "inference")[:3] == [1, 2, 1]
    assert {sample.target_percent for sample in samples} == {40}
    up = next(one for one in samples if one.tier == "inference" and one.desired > one.replicas)
    assert up.why.startswith(f"1 -> {up.desired}: ")
    assert "% > 40 %" in up.why
    assert up.cpu_percent is not None
    assert up.cpu_percent > 44
    assert "inference     1/1  1 -> 2: " in ended.stderr


@pytest.mark.long
def test_from_zero_to_load_and_back_every_picture_is_answered(tmp_path: Path) -> None:
    """The component, with a minute of the accelerated clock until it is at zero again."""
    scaled = (ROOT / "k8s" / "components" / "scale-to-zero" / "scaled-objects.yaml").read_text()
    place = tmp_path / "scaled-objects.yaml"
    place.write_text(scaled.replace("cooldownPeriod: 600", "cooldownPeriod: 60"))
    timeline = tmp_path / "timeline.jsonl"
    ended = run_lab(
        "--hpa", str(place), "--load", "night", "--rate", "3", "--max-replicas", "2",
        "--duration", "36", "--timeline", str(timeline),
    )  # fmt: skip

    report = json.loads(ended.stdout)
    assert (report["failed"], report["held_back"]) == (0, 0)
    assert report["pictures"] >= 15
    samples = read_timeline(timeline)
    for tier in ("preprocess", "inference"):
        pods = of(samples, tier)
        assert (pods[0], pods[1], pods[-1]) == (0, 1, 0)
        changes = [one.why for one in samples if one.tier == tier and one.desired != one.replicas]
        assert re.fullmatch(r"0 -> 1: KEDA activates it: \d+ in flight > 0", changes[0])
        # Whichever number of pods the HPA had left.
        assert re.fullmatch(r"\d -> 0: KEDA deactivates it: 60 s without activity", changes[-1])
    assert of(samples, "web")[0] == 1


@pytest.mark.long
def test_the_live_view_shows_what_the_autoscalers_do() -> None:
    """From the first decision on more pods to the end of one of them, each as it happens."""
    arguments = ["--speed", "30", "--max-replicas", "2", "--target", "40", "--duration", "40"]
    with subprocess.Popen(
        [*LAB, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        line = next(line for line in process.stdout if line.startswith("live: "))
        with watching(line.removeprefix("live: ").strip().removesuffix("/live")) as viewer:
            process.communicate(timeout=110)
            assert viewer.ended.wait(60)

    told = [one for one in viewer.changes() if one["tier"] == "inference"]
    kinds = [one["kind"] for one in told]
    # The drain takes a second: on a busy machine it may be over before anybody has looked.
    begin = [kind for kind in kinds if kind in ("scaled", "appeared", "share")]
    assert begin[:3] == ["scaled", "appeared", "share"]
    assert "gone" in kinds[kinds.index("share") :]
    up = told[0]
    assert up["name"] == "autoscaler of inference"
    assert up["text"].startswith("wants 2 instead of 1: 1 -> 2: ")
    assert "% > 40 %" in up["text"]
    scalers = [data["tiers"]["inference"]["autoscaler"] for _, _, data in viewer.events]
    assert {one["desired"] for one in scalers if one is not None} == {1, 2}
    # What the lab measures is the load that it makes itself.
    assert not viewer.events[0][2]["load"]["may"]


def child(parent: int, tier: str) -> int:
    """Return the lab's process of a tier."""
    pids = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids}
    return next(pid for pid, command in commands.items() if f"services.{tier}".encode() in command)


def test_a_killed_pod_is_replaced_and_ctrl_c_drains_all(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*LAB, "--load", "none", "--max-replicas", "1", "--logs", tmp_path],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        target = next(line for line in process.stdout if line.startswith("target: "))
        found = re.search(r"http://127\.0\.0\.1:(\d+)", target)
        assert found
        port = int(found[1])
        socket.create_connection(("127.0.0.1", port)).close()
        os.kill(child(process.pid, "inference"), signal.SIGKILL)
        crash = next(line for line in process.stdout if "a new pod replaces it" in line)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    assert crash.startswith("inference-1 ended with -9")
    assert out.endswith(", no load of the lab's own\n")
    assert {path.name for path in tmp_path.glob("*.log")} == {
        "web-1.log",
        "preprocess-1.log",
        "inference-1.log",
        "inference-2.log",
    }
    assert not any("Traceback" in path.read_text() for path in tmp_path.glob("*.log"))


def test_a_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    status, _, err = run("hpa-lab", "--model", tmp_path, "--max-replicas", "1")

    assert status == 1
    assert "expected exactly one .cfg file" in err.splitlines()[-1]


def test_a_simulation_writes_its_totals_and_its_timeline(tmp_path: Path) -> None:
    timeline = tmp_path / "timeline.jsonl"

    status, out, err = run("hpa-lab", "--simulate", "--json", "--timeline", timeline)

    assert (status, err) == (0, "")
    totals = json.loads(out)
    assert totals["pictures"] == 264_375
    assert [tier["peak_replicas"] for tier in totals["tiers"]] == [3, 4, 5]
    assert of(read_timeline(timeline), "web") == [1, 3, 1]


def test_another_cpu_target_needs_no_other_manifests() -> None:
    status, out, _ = run("hpa-lab", "--simulate", "--target", "40")

    assert status == 0
    assert "inference     1/1  1 -> 3: 96 % > 40 %" in out
    assert re.search(r"^inference +8 ", out, re.MULTILINE)


def test_with_older_metrics_more_pictures_are_rejected() -> None:
    status, out, _ = run("hpa-lab", "--simulate", "--metrics-resolution", "60", "--json")

    assert status == 0
    assert json.loads(out)["unserved"] > 30_000


def test_a_component_is_simulated_with_the_manifests_of_the_base() -> None:
    place = ROOT / "k8s" / "components" / "scale-to-zero"

    status, out, err = run("hpa-lab", "--simulate", "--load", "night", "--hpa", place)

    assert (status, err) == (0, "")
    assert " 2:32  inference     0/0  0 -> 1: KEDA activates it: 129 in flight > 0\n" in out
    assert (
        "\n17:32  inference     1/1  1 -> 0: KEDA deactivates it: 600 s without activity\n" in out
    )


def test_a_simulation_prints_every_change_and_a_summary() -> None:
    status, out, _ = run("hpa-lab", "--simulate", "--load", "spike", "--rate", "100")

    assert status == 0
    assert "    1/1  1 -> 2: " in out
    assert "pictures in 30:00, 39 rejected" in out
    assert re.search(r"^inference +\d+  as many pods as the metric asks for$", out, re.MULTILINE)
    assert all(len(line) <= 80 for line in out.splitlines())


def test_a_simulation_says_first_what_it_cannot_follow(tmp_path: Path) -> None:
    copy = tmp_path / "base"
    shutil.copytree(ROOT / "k8s" / "base", copy)
    manifest = copy / "inference.yaml"
    text = manifest.read_text()
    manifest.write_text(text.replace("name: cpu\n", "name: memory\n", 1))

    status, out, _ = run("hpa-lab", "--simulate", "--hpa", copy)
    _, summary, err = run("hpa-lab", "--simulate", "--hpa", copy, "--json")

    assert status == 0
    first = "inference: the Resource metric memory is not measured here, only cpu is"
    assert out.startswith(f"{first}\n")
    assert err.startswith(f"{first}\n")
    assert " 0:15  inference     1/1  stays at 1: no memory metrics of any pod\n" in out
    assert json.loads(summary)["stays"]["inference"] == {"no memory metrics of any pod": 119}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--simulate", "--load", "none"],
        ["--load", "flood"],
        ["--rate", "0"],
        ["--rate", "501"],
        ["--speed", "-1"],
        ["--target", "0"],
        ["--target", "60%"],
        ["--port", "70000"],
        ["--cost-ms", "1,2"],
        ["--cost-ms", "1,2,x"],
        ["--simulate", "--cost-ms", "1"],
        # Options of the one without a meaning for the other.
        ["--simulate", "--speed", "5"],
        ["--startup-s", "60"],
        ["--cost-ms", "1,2,3"],
        ["--simulate", "--metrics-resolution", "5"],
        ["--stream"],
        ["--simulate", "--stream", "--cost-ms", "1,2,3"],
        ["--simulate", "--stream", "--target", "60"],
        ["--timeline", "/absent/t.jsonl"],
    ],
)
def test_wrong_usage_ends_with_two(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["hpa-lab", *arguments])

    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert "usage: elastic-yolo hpa-lab" in err


def test_a_folder_without_manifests_is_one_line(tmp_path: Path) -> None:
    status, out, err = run("hpa-lab", "--simulate", "--hpa", tmp_path)

    assert (status, out) == (1, "")
    assert err == f"elastic-yolo: {tmp_path}: no HorizontalPodAutoscaler found\n"


def test_without_the_repository_the_lab_says_what_it_needs(tmp_path: Path) -> None:
    """As in a wheel: the package alone, in a folder without services."""
    shutil.copytree(ROOT / "elastic_yolo", tmp_path / "elastic_yolo")
    command = [sys.executable, "-m", "elastic_yolo.cli", "hpa-lab"]
    where: dict[str, Any] = {"cwd": tmp_path, "capture_output": True, "text": True}

    lab = subprocess.run(command, **where, check=False)
    simulation = subprocess.run([*command, "--simulate", "--json"], **where, check=False)

    assert (lab.returncode, lab.stdout) == (1, "")
    assert lab.stderr == (
        "elastic-yolo: hpa-lab starts the services, whose sources are in the repository only: "
        "run it in a checkout of elastic-yolo, or add --simulate\n"
    )
    assert simulation.returncode == 0, simulation.stderr
    assert json.loads(simulation.stdout)["pictures"] == 264_375
