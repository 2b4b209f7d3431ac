"""The speed to expect from a CPU's instruction sets.

Figures: docs/performance.md (Sapphire Rapids, also limited to the instructions of older CPUs) and
docs/sizing.md.
"""

from __future__ import annotations

from typing import Literal

from elastic_yolo.machine import Cpu

_X86 = ("x86_64", "amd64")
_ARM = ("aarch64", "arm64")
_UNMEASURED = "no figures in docs; measure int8 with elastic-yolo bench"


def judge_cpu(cpu: Cpu, machine: str) -> tuple[Literal["ok", "warning", "problem"], str]:
    """Return the state and a sentence for a CPU; `machine` is platform.machine()."""
    if machine in _X86:
        state, what = _judge_x86(cpu.features)
    elif machine in _ARM:
        state, what = _judge_arm(cpu.features)
    else:
        state, what = "warning", "no measurements for this kind of CPU"
    return state, f"{cpu.name}: {what}"


def _judge_x86(has: frozenset[str]) -> tuple[Literal["ok", "warning"], str]:
    if "avx2" not in has:
        return "warning", "no AVX2: slower than every figure in docs"
    if "avx512f" not in has:
        if "avx_vnni" in has:
            return "ok", f"AVX2 with VNNI, no AVX-512: {_UNMEASURED}"
        return "ok", "AVX2, no AVX-512: int8 takes 60 % of fp32's time, bf16 runs as fp32"
    if "amx_int8" in has:
        return "ok", "AVX-512, VNNI and AMX: int8 and bf16 are five to six times as fast as fp32"
    if "avx512_vnni" in has:
        more = " and bf16 twice" if "avx512_bf16" in has else "; bf16 runs as fp32"
        return "ok", f"AVX-512 and VNNI: int8 is three times as fast as fp32{more}"
    return "ok", f"AVX-512 without VNNI: {_UNMEASURED}"


def _judge_arm(has: frozenset[str]) -> tuple[Literal["ok", "warning"], str]:
    if "asimd" not in has:
        return "warning", "no NEON: many times slower than with it"
    more = [
        name
        for flag, name in (
            ("asimdhp", "fp16"),
            ("asimddp", "dot products"),
            ("i8mm", "int8 matrices"),
            ("bf16", "bf16"),
            ("sve", "SVE"),
        )
        if flag in has
    ]
    also = f" with {', '.join(more)}" if more else ""
    return "ok", f"NEON{also}: {_UNMEASURED}"
