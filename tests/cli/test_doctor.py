"""`elastic-yolo doctor` as a program: its output and exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from elastic_yolo.lab.processes.stack import ROOT
from tests.support.command import run
from tests.support.doctor_cases import as_printed, base, cluster_objects, edited

# One warning, and the same with an error.
NO_CLASS = {"in": "PersistentVolumeClaim/shelf", "replace": "storageClassName: nfs"}
TOO_MANY = {
    "in": "HorizontalPodAutoscaler/front",
    "replace": "minReplicas: 2",
    "by": "minReplicas: 7",
}
WARNED = edited("shop", NO_CLASS)
WRONG = edited("shop", NO_CLASS, TOO_MANY)


def write(folder: Path, text: str) -> Path:
    """Write manifests and return their file."""
    path = folder / "shop.yaml"
    path.write_text(text)
    return path


def test_sound_manifests_end_with_zero(tmp_path: Path) -> None:
    status, out, err = run("doctor", write(tmp_path, base("shop")))

    assert (status, out, err) == (0, "nothing found in 14 objects\n", "")


def test_an_error_is_printed_and_ends_with_one(tmp_path: Path) -> None:
    path = write(tmp_path, WRONG)
    status, out, err = run("doctor", path)
    line = WRONG[: WRONG.index("minReplicas: 7")].count("\n") + 1

    assert (status, err) == (1, "")
    first = out.splitlines()
    assert first[0] == f"error HPA04 HorizontalPodAutoscaler/front ({path}:{line})"
    assert first[1] == "  minReplicas is 7, and maxReplicas is 6."
    assert [one.split(":")[0] for one in first[2:4]] == ["  why", "  fix"]
    assert out.endswith("\n\n1 error and 1 warning in 14 objects\n")


def test_warnings_alone_end_with_zero(tmp_path: Path) -> None:
    status, out, _ = run("doctor", write(tmp_path, WARNED))

    assert status == 0
    assert out.startswith("warning PVC01 PersistentVolumeClaim/shelf ")
    help_status, usage, _ = run("doctor", "--help")
    assert help_status == 0
    assert "0 nothing found, or warnings only" in usage


def test_json_has_the_same_findings(tmp_path: Path) -> None:
    path = write(tmp_path, WRONG)
    status, out, _ = run("doctor", "--json", path)
    report = json.loads(out)

    assert status == 1
    assert report["objects"] == 14
    assert [(one["severity"], one["code"]) for one in report["findings"]] == [
        ("error", "HPA04"),
        ("warning", "PVC01"),
    ]
    assert report["findings"][0] | {"why": "", "fix": "", "line": 0} == {
        "code": "HPA04",
        "severity": "error",
        "kind": "HorizontalPodAutoscaler",
        "name": "front",
        "namespace": "shop",
        "file": str(path),
        "line": 0,
        "what": "minReplicas is 7, and maxReplicas is 6.",
        "why": "",
        "fix": "",
    }


def test_standard_input_is_read() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "elastic_yolo.cli", "doctor", "-"],
        cwd=ROOT,
        input=WRONG,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    assert "(stdin:" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "pass one of"),
        (["--cluster", "--local"], "pass one of"),
        (["--cluster", "x.yaml"], "pass one of"),
        (["--local", "--namespace", "n"], "--namespace needs --cluster"),
        (["/absent.yaml"], "no such file or folder: /absent.yaml"),
        ([str(ROOT / "k8s")], "pass one of them"),
    ],
)
def test_wrong_usage_ends_with_two(arguments: list[str], said: str) -> None:
    status, out, err = run("doctor", *arguments)

    assert (status, out) == (2, "")
    assert said in err


def test_a_cluster_is_examined_through_kubectl(tmp_path: Path) -> None:
    """The stand-in for kubectl prints recorded objects."""
    objects = cluster_objects()
    (tmp_path / "hpa.json").write_text(
        as_printed([objects["HorizontalPodAutoscaler/front"], objects["Deployment/front"]])
    )
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(
        f'#!/bin/sh\ncase "$2" in horizontal*) cat {tmp_path}/hpa.json;; esac\n'
        'case "$2" in secrets) echo "shop access";; esac\n'
    )
    kubectl.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    ended = subprocess.run(
        [sys.executable, "-m", "elastic_yolo.cli", "doctor", "--cluster", "--namespace", "shop"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    assert ended.stdout.startswith("error HPA06 HorizontalPodAutoscaler/front\n")
    assert "reading the cluster" in ended.stderr


def test_a_missing_kubectl_is_one_line() -> None:
    status, out, err = run("doctor", "--cluster", "--kubectl", "/absent/kubectl --context x")

    assert (status, out) == (1, "")
    assert err == "elastic-yolo: command not found: /absent/kubectl\n"


def test_local_prints_a_line_for_each_check() -> None:
    _, out, err = run("doctor", "--local")
    _, encoded, _ = run("doctor", "--local", "--json")
    names = [line.split()[1] for line in out.splitlines()]

    assert err == ""
    assert {"Python", "CPU", "cores", "memory", "openvino", "port"} <= set(names)
    assert {line.split()[0] for line in out.splitlines()} <= {"ok", "-", "warning", "problem"}
    assert len(json.loads(encoded)) == len(names)
