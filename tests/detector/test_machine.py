"""The description of the CPU, which decides whether measurements apply to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastic_yolo.detector import machine

INTEL = """processor\t: 0
model name\t: Intel(R) Xeon(R)
flags\t\t: fpu avx2 avx512f amx_int8

processor\t: 1
model name\t: another
"""
ARM = """processor\t: 0
Features\t: fp asimd asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0c
"""


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (INTEL, "Intel(R) Xeon(R) (amx_int8, avx2, avx512f)"),
        # Linux on Arm has no model name in /proc/cpuinfo.
        (ARM, "aarch64 0x41 0xd0c (asimd, asimddp)"),
    ],
)
def test_describe_cpu_returns_the_name_and_instruction_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str, name: str
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine.platform, "machine", lambda: "aarch64")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)

    assert machine.describe_cpu.__wrapped__() == name
