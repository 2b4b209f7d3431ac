"""The CPU of this machine: its name, and the instruction sets that matter to inference."""

from __future__ import annotations

import os
from functools import cache

from elastic_yolo.machine import read_cpu

# Environment variable of oneDNN, OpenVINO's CPU backend: limits it to the instructions of an older
# CPU.
_LIMIT = "ONEDNN_MAX_CPU_ISA"
_INSTRUCTIONS = frozenset(
    """
    avx2 avx_vnni avx512f avx512_vnni avx512_bf16 avx512_fp16 amx_bf16 amx_int8
    asimd asimddp asimdhp bf16 i8mm sve
    """.split()
)


@cache
def describe_cpu() -> str:
    """Return the CPU's name and those of its instruction sets that matter to inference."""
    cpu = read_cpu()
    limit = os.environ.get(_LIMIT)
    less = f", oneDNN held to {limit}" if limit else ""
    matter = ", ".join(sorted(_INSTRUCTIONS & cpu.features)) or "baseline"
    return f"{cpu.name} ({matter}{less})"


def may_use_bf16() -> bool:
    """Return whether ONEDNN_MAX_CPU_ISA allows bf16."""
    limit = os.environ.get(_LIMIT, "ALL").upper()
    # All levels with AMX or FP16 include bf16.
    return limit in ("ALL", "DEFAULT") or any(word in limit for word in ("BF16", "FP16", "AMX"))
