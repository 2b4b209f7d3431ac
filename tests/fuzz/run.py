"""Fuzz one target in this process: `python -m tests.fuzz.run TARGET [libFuzzer's options]`.

Started by tests/fuzz/__main__.py. Memory is limited twice: libFuzzer checks the memory in use from
time to time, and the kernel refuses single large allocations.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["elastic_yolo.detector", "elastic_yolo.picture", "yaml"]):
    from tests.fuzz.lines import change_lines
    from tests.fuzz.targets import TARGETS

MOST_BYTES = 200_000_000


def _mutate(data: bytes, longest: int, seed: int) -> bytes:
    """Mutate bytes with libFuzzer's mutators, or lines with ours."""
    if seed % 2:
        return bytes(atheris.Mutate(data, longest))
    return change_lines(data, seed)[:longest]


def main() -> None:
    """Fuzz until the time is up or there is a finding."""
    name, *options = sys.argv[1:]
    size, resident, *_ = (
        int(pages) * resource.getpagesize()
        for pages in Path("/proc/self/statm").read_text(encoding="ascii").split()
    )
    # Twice for the address space, which also holds libFuzzer's corpus and tables.
    resource.setrlimit(resource.RLIMIT_AS, (size + 2 * MOST_BYTES,) * 2)
    limit = f"-rss_limit_mb={(resident + MOST_BYTES) // 2**20}"
    target = TARGETS[name]
    mutators = {"custom_mutator": _mutate} if target.lines else {}
    atheris.Setup([sys.argv[0], limit, *options], target.run, **mutators)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
