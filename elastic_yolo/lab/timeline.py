"""The timeline file: how many pods each tier had at a moment, what was wanted, and why.

JSON lines, one for each tier and tick. The autoscaler lab writes it, the load test reads it, also
while it is being written. Standard library only.
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
    """Of those, that take traffic."""
    desired: int
    """What the autoscaler wants after all rules."""
    target_percent: int | None
    """What the autoscaler aims at, in per cent of the request; None where there is none."""
    cpu_percent: float | None = None
    """Mean CPU of the pods in per cent of their request; None where it is not known."""
    cpu_s: float | None = None
    """CPU seconds a second of all pods of the tier together; None where it is not known."""
    why: str = ""
    """The autoscaler's reason, in words."""


def read_timeline(path: Path) -> list[Sample]:
    """Return the samples of a file in the order of its lines.

    A last line without its end is still being written, and left out. Raises OSError, and ValueError
    that names the line if one is not a sample.
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
    """Write samples to the end of a file, in one piece, so that readers see whole lines."""
    text = "".join(json.dumps(asdict(sample)) + "\n" for sample in samples)
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def parse_sample(line: str) -> Sample:
    """Return the sample of one line, whatever else it has; raises ValueError if it is none."""
    stated = json.loads(line)
    if not isinstance(stated, dict):
        raise ValueError("not an object")  # noqa: TRY004  # what is wrong is the file's value
    values: dict[str, Any] = {"why": str(stated.get("why", "")), "tier": stated.get("tier")}
    if not isinstance(values["tier"], str):
        raise ValueError("tier is not a name")  # noqa: TRY004
    for name in (*_NUMBERS, *_MAYBE_NUMBERS):
        value = stated.get(name)
        missing = value is None and name in _MAYBE_NUMBERS
        if not missing and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"{name} is not a number: {value!r}")
        values[name] = value
    return Sample(**values)
