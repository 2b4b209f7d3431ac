"""What this machine is, as far as its speed is concerned."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_INSTRUCTIONS = frozenset(
    """
    avx2 avx_vnni avx512f avx512_vnni avx512_bf16 avx512_fp16 amx_bf16 amx_int8
    asimd asimddp asimdhp bf16 i8mm sve
    """.split()
)


@cache
def describe_cpu() -> str:
    """Return the CPU's name and those of its instruction sets that matter here."""
    facts: dict[str, str] = {}
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    name = facts.get("model name", platform.machine())
    return f"{name} ({', '.join(sorted(_INSTRUCTIONS.intersection(flags))) or 'baseline'})"
