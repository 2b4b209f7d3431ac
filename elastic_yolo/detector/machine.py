"""What this machine is, as far as its speed is concerned."""

from __future__ import annotations

import os
from functools import cache

from elastic_yolo.machine import read_cpu

# With this oneDNN, with which OpenVINO computes, can be told to do as on an older CPU.
_LIMIT = "ONEDNN_MAX_CPU_ISA"
_INSTRUCTIONS = frozenset(
    """
    avx2 avx_vnni avx512f avx512_vnni avx512_bf16 avx512_fp16 amx_bf16 amx_int8
    asimd asimddp asimdhp bf16 i8mm sve
    """.split()
)


@cache
def describe_cpu() -> str:
    """Return the CPU's name and those of its instruction sets that matter here."""
    cpu = read_cpu()
    limit = os.environ.get(_LIMIT)
    less = f", oneDNN held to {limit}" if limit else ""
    matter = ", ".join(sorted(_INSTRUCTIONS & cpu.features)) or "baseline"
    return f"{cpu.name} ({matter}{less})"


def may_use_bf16() -> bool:
    """Return whether oneDNN was left free to use bf16, if the CPU has it."""
    limit = os.environ.get(_LIMIT, "ALL").upper()
    # The levels from AMX on include it, and say so less plainly.
    return limit in ("ALL", "DEFAULT") or any(word in limit for word in ("BF16", "FP16", "AMX"))
