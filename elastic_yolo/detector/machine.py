"""The CPU of this machine: its name, and the instruction sets that matter to inference."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

# Environment variable of oneDNN, OpenVINO's CPU backend: limits it to the instructions of an older
# CPU.
_LIMIT = "ONEDNN_MAX_CPU_ISA"
_CPUINFO = Path("/proc/cpuinfo")
_INSTRUCTIONS = frozenset(
    """
    avx2 avx_vnni avx512f avx512_vnni avx512_bf16 avx512_fp16 amx_bf16 amx_int8
    asimd asimddp asimdhp bf16 i8mm sve
    """.split()
)


@cache
def describe_cpu() -> str:
    """Return the CPU's name and those of its instruction sets that matter to inference."""
    facts: dict[str, str] = {}
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    # Linux on Arm has no model name in /proc/cpuinfo.
    parts = [facts[key] for key in ("CPU implementer", "CPU part") if key in facts]
    name = facts.get("model name") or " ".join([platform.machine(), *parts])
    limit = os.environ.get(_LIMIT)
    less = f", oneDNN held to {limit}" if limit else ""
    return f"{name} ({', '.join(sorted(_INSTRUCTIONS.intersection(flags))) or 'baseline'}{less})"


def may_use_bf16() -> bool:
    """Return whether ONEDNN_MAX_CPU_ISA allows bf16."""
    limit = os.environ.get(_LIMIT, "ALL").upper()
    # All levels with AMX or FP16 include bf16.
    return limit in ("ALL", "DEFAULT") or any(word in limit for word in ("BF16", "FP16", "AMX"))
