"""The timeline file: actual and desired pods of each tier over time, with the reasons.

JSON lines, one for each tier and sync. The autoscaler lab writes it; the load test reads it, also
while it grows. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_NUMBERS = ("at", "replicas", "ready", "desired")
_MAYBE_NUMBERS = ("target_percent", "cpu_percent", "cpu_s")


@dataclass(frozen=True)
class Sample:
    """One tier at one moment."""

    at: float
    """Unix seconds."""
    tier: str
    """The name of the Deployment: web, preprocess or inference."""
    replicas: int
    """Pods that exist and are not terminating."""
    ready: int
    """Those of them that take traffic."""
    desired: int
    """The autoscaler's decision after all limits."""
    target_percent: int | None
    """The CPU target in per cent of the CPU request; None if there is none."""
    cpu_percent: float | None = None
    """Mean CPU usage of the pods in per cent of their CPU request; None if unknown."""
    cpu_s: float | None = None
    """CPU usage of all pods of the tier in cores; None if unknown."""
    why: str = ""
    """The autoscaler's reason, one line."""
    held: str = ""
    """Why the number of pods stays, the same words in each sync; empty if it changes."""


def read_timeline(path: Path) -> list[Sample]:
    """Return the samples of a file in the order of its lines.

    A last line without a line end is still being written, and omitted. Raises OSError, and
    ValueError that names the line if one is not a sample.
    """
    with path.open(encoding="utf-8") as file:
        lines = [line for line in file if line.endswith("\n")]
    samples = []
    for number, line in enumerate(lines, 1):
        try:
            samples.append(parse_sample(line))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    return samples


def append_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Append samples to a file in one write, so that readers see whole lines."""
    text = "".join(json.dumps(asdict(sample)) + "\n" for sample in samples)
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def parse_sample(line: str) -> Sample:
    """Return the sample of one line; unknown keys are ignored. Raises ValueError."""
    stated = json.loads(line)
    if not isinstance(stated, dict):
        raise ValueError("not an object")  # noqa: TRY004  # what is wrong is the file's value
    values: dict[str, Any] = {"tier": stated.get("tier")}
    values |= {name: str(stated.get(name, "")) for name in ("why", "held")}
    if not isinstance(values["tier"], str):
        raise ValueError("tier is not a name")  # noqa: TRY004
    for name in (*_NUMBERS, *_MAYBE_NUMBERS):
        value = stated.get(name)
        missing = value is None and name in _MAYBE_NUMBERS
        if not missing and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"{name} is not a number: {value!r}")
        values[name] = value
    return Sample(**values)
