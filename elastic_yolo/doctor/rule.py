"""A rule: a check of a set of manifests, and the code of its findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from elastic_yolo.doctor.finding import Finding
from elastic_yolo.doctor.manifest_set import ManifestSet

Check = Callable[[ManifestSet], Iterator[Finding]]


class Rule(NamedTuple):
    """A check, and the code under which docs/doctor.md describes its findings."""

    code: str
    check: Check
