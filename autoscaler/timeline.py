"""The timeline file: what the autoscaler saw and wanted, one JSON object a line, tier and tick."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One tier at one moment."""

    at: float
    """Unix time in seconds."""
    tier: str
    """The name of the Deployment: web, preprocess or inference."""
    replicas: int
    """Pods that exist and are not terminating."""
    ready: int
    """Of those, that take traffic."""
    desired: int
    """What the autoscaler wants after all rules."""
    cpu_percent: float | None
    """Mean CPU of the pods in per cent of their request; None where unknown."""
    target_percent: int
    """The autoscaler's target, in per cent of the request."""
    cpu_s: float | None
    """CPU seconds a second of all pods of the tier together; None where unknown."""
    why: str
    """The decision in one sentence."""


def append_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Write samples at the end of a file, which is made if it is not there; raises OSError."""
    lines = [json.dumps(asdict(sample), ensure_ascii=False) + "\n" for sample in samples]
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(lines))


def read_timeline(path: Path) -> list[Sample]:
    """Return the samples of a file in its order; raises OSError, ValueError naming the line.

    What a line says beyond the fields of a sample is ignored.
    """
    samples = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                samples.append(_read(line, f"{path}, line {number}"))
    return samples


def _read(line: str, where: str) -> Sample:
    try:
        found = json.loads(line)
        return Sample(**{field.name: found[field.name] for field in fields(Sample)})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{where}: no sample of a timeline: {error}") from error
