"""The checks of this machine."""

from __future__ import annotations

import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from elastic_yolo.doctor.cpu import judge_cpu
from elastic_yolo.doctor.local import (
    examine,
    import_version,
    judge_cores,
    judge_disk,
    judge_memory,
)
from elastic_yolo.doctor.machine import (
    find_holder,
    is_taken,
    read_memory,
)
from elastic_yolo.machine import Cpu, read_cpu, read_cpu_quota
from elastic_yolo.tiers import PORTS

LISTENER = """
import socket, sys
waiting = socket.create_server(("127.0.0.1", 0))
print(waiting.getsockname()[1], flush=True)
sys.stdin.read()
"""


def files(folder: Path, **contents: str) -> Path:
    """Write files; in their names two underscores stand for a slash, a hyphen for a dot."""
    for name, content in contents.items():
        path = folder / name.replace("__", "/").replace("-", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


@pytest.mark.parametrize(
    ("machine", "features", "state", "word"),
    [
        ("x86_64", "sse4_2", "warning", "no AVX2"),
        ("x86_64", "avx2 fma", "ok", "no AVX-512"),
        ("x86_64", "avx2 avx_vnni", "ok", "AVX2 with VNNI"),
        ("x86_64", "avx2 avx512f", "ok", "without VNNI"),
        ("x86_64", "avx2 avx512f avx512_vnni", "ok", "bf16 runs as fp32"),
        ("x86_64", "avx2 avx512f avx512_vnni avx512_bf16", "ok", "bf16 twice"),
        ("x86_64", "avx2 avx512f avx512_vnni avx512_bf16 amx_int8 amx_bf16", "ok", "AMX"),
        ("aarch64", "fp asimd asimddp i8mm", "ok", "NEON with dot products, int8 matrices"),
        ("aarch64", "fp", "warning", "no NEON"),
        ("riscv64", "", "warning", "this kind of CPU"),
    ],
)
def test_a_cpu_is_judged_by_its_instruction_sets(
    machine: str, features: str, state: str, word: str
) -> None:
    judged, detail = judge_cpu(Cpu("Some CPU", frozenset(features.split())), machine)

    assert judged == state
    assert detail.startswith("Some CPU: ")
    assert word in detail


def test_a_cpu_is_read_from_proc_cpuinfo(tmp_path: Path) -> None:
    intel = files(
        tmp_path / "a", cpuinfo="processor\t: 0\nmodel name\t: Xeon\nflags\t\t: fpu avx2\n"
    )
    arm = files(tmp_path / "b", cpuinfo="processor\t: 0\nFeatures\t: fp asimd\n")
    parts = files(tmp_path / "c", cpuinfo="CPU implementer\t: 0x41\nCPU part\t: 0xd0c\n")

    assert read_cpu(intel, "x86_64") == Cpu("Xeon", frozenset({"fpu", "avx2"}))
    assert read_cpu(arm, "aarch64") == Cpu("aarch64", frozenset({"fp", "asimd"}))
    assert read_cpu(parts, "aarch64") == Cpu("aarch64 0x41 0xd0c", frozenset())
    assert read_cpu(tmp_path / "absent", "riscv64") == Cpu("riscv64", frozenset())


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"cpu-max": "150000 100000\n"}, 1.5),
        ({"cpu-max": "max 100000\n"}, None),
        ({"cpu__cpu-cfs_quota_us": "50000\n", "cpu__cpu-cfs_period_us": "100000\n"}, 0.5),
        ({"cpu__cpu-cfs_quota_us": "-1\n", "cpu__cpu-cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_a_cpu_quota_is_read_from_cgroup_v1_and_v2(
    tmp_path: Path, names: dict[str, str], expected: float | None
) -> None:
    assert read_cpu_quota(files(tmp_path, **names)) == expected


@pytest.mark.parametrize(
    ("names", "left"),
    [
        ({"memory-max": "1000000\n", "memory-current": "400000\n"}, 600_000),
        ({"memory-max": "max\n"}, None),
        (
            {
                "memory__memory-limit_in_bytes": "1000000\n",
                "memory__memory-usage_in_bytes": "2000000\n",
            },
            0,
        ),
        ({"memory__memory-limit_in_bytes": f"{2**63 - 4096}\n"}, None),
    ],
)
def test_free_memory_respects_the_limit_of_the_container(
    tmp_path: Path, names: dict[str, str], left: int | None
) -> None:
    proc = files(tmp_path / "proc", meminfo="MemTotal: 9 kB\nMemAvailable:    2048 kB\n")
    cgroups = files(tmp_path / "cgroup", **names)

    assert read_memory(proc, cgroups) == (2048 * 1024, left)


@pytest.mark.parametrize(
    ("cores", "quota", "state"), [(8, None, "ok"), (8, 1.0, "warning"), (8, 0.5, "warning"),
                                  (1, None, "warning"), (2, 16.0, "ok")],
)  # fmt: skip
def test_cores_are_judged_within_the_cpu_quota(cores: int, quota: float | None, state: str) -> None:
    assert judge_cores(cores, quota).state == state


@pytest.mark.parametrize(
    ("free", "left", "state"),
    [(8e9, None, "ok"), (2e9, None, "warning"), (8e9, 5e8, "problem"), (1e8, 8e9, "problem")],
)
def test_memory_is_judged_by_the_needs_of_the_services(
    free: float, left: float | None, state: str
) -> None:
    assert judge_memory(int(free), None if left is None else int(left)).state == state


@pytest.mark.parametrize(
    ("free", "writable", "state"),
    [(5e9, True, "ok"), (5e9, False, "problem"), (5e8, True, "warning"), (1e8, True, "problem")],
)
def test_a_disk_is_judged_by_the_size_of_a_model(
    free: float, *, writable: bool, state: str
) -> None:
    assert judge_disk("disk", Path("/x"), int(free), writable=writable).state == state


def test_the_process_that_listens_on_a_port_is_found() -> None:
    program = [sys.executable, "-c", LISTENER]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        taken, holder = is_taken(port), find_holder(port)
        other.communicate()

    assert taken
    assert holder.pid == other.pid
    assert "import socket, sys" in holder.command
    assert not is_taken(port)


def test_a_port_of_an_invisible_process_is_taken(tmp_path: Path) -> None:
    """As with another user's process, whose files may not be listed."""
    with socket.create_server(("127.0.0.1", 0)) as waiting:
        port = waiting.getsockname()[1]
        holder = find_holder(port, tmp_path)

        assert is_taken(port)
    assert str(holder) == "a process of another user"


def test_import_version_returns_a_version_or_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fine.py").write_text("__version__ = '1.2'\n")
    (tmp_path / "broken.py").write_text("raise ImportError('libx.so.1: no such file')\n")
    (tmp_path / "illegal.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    assert import_version("fine") == ("1.2", "")
    assert import_version("nowhere_at_all") == ("", "")
    assert import_version("broken") == ("", "ImportError: libx.so.1: no such file")
    assert import_version("illegal") == ("", "signal 4: compiled for another CPU")


def test_all_checks_run_on_this_machine(tmp_path: Path) -> None:
    """The engines of the lock are installed on every machine that runs tests."""
    environment = {"CACHE_DIR": str(tmp_path / "new"), "MODEL_PATH": f"store:{tmp_path}/m@stable"}
    lines = {line.name: line for line in examine(environment)}

    assert lines["Python"].detail == platform.python_version()
    assert lines["openvino"].state == lines["engine=auto"].state == "ok"
    assert str(tmp_path / "new") in lines["CACHE_DIR"].detail
    assert lines["store"].detail.startswith(f"{tmp_path}: ")
    assert {f"port {port}" for port in PORTS.values()} <= lines.keys()
    assert {"CPU", "cores", "memory", "darknet", "CUDA", "containers", "kubectl"} <= lines.keys()
