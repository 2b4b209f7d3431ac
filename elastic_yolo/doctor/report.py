"""Findings as text for a terminal, and as plain data for a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from elastic_yolo.doctor.finding import Finding


def describe(findings: Sequence[Finding], objects: int) -> str:
    """Return all findings and their number as text."""
    return "\n\n".join([*map(_one, findings), _count(findings, objects)])


def as_data(findings: Sequence[Finding], objects: int) -> dict[str, Any]:
    """Return all findings as plain data for JSON; `line` is None if unknown."""
    return {
        "objects": objects,
        "findings": [
            {
                "code": one.code,
                "severity": one.severity,
                "kind": one.place.kind,
                "name": one.place.name,
                "namespace": one.place.namespace,
                "file": one.place.file,
                "line": one.place.line or None,
                "what": one.what,
                "why": one.why,
                "fix": one.fix,
            }
            for one in findings
        ],
    }


def has_errors(findings: Sequence[Finding]) -> bool:
    """Return whether one of the findings is an error."""
    return any(one.severity == "error" for one in findings)


def _one(finding: Finding) -> str:
    return (
        f"{finding.severity} {finding.code} {finding.place}\n"
        f"  {finding.what}\n  why: {finding.why}\n  fix: {finding.fix}"
    )


def _count(findings: Sequence[Finding], objects: int) -> str:
    errors = sum(one.severity == "error" for one in findings)
    among = f"in {objects} object{'s' * (objects != 1)}"
    if not findings:
        return f"nothing found {among}"
    warnings = len(findings) - errors
    return (
        f"{errors} error{'s' * (errors != 1)} and {warnings} warning{'s' * (warnings != 1)} {among}"
    )
