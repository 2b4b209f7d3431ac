"""All rules, in the order of docs/doctor.md."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

from elastic_yolo.doctor.finding import Finding
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.rules import (
    autoscaling,
    cluster,
    configuration,
    images,
    jobs,
    lifecycle,
    network,
    objects,
    overlaps,
    pods,
    resources,
    rollouts,
    scale_metrics,
    scale_targets,
    security,
    storage,
    wiring,
)

RULES: tuple[Rule, ...] = (
    *objects.RULES,
    *scale_metrics.RULES,
    *scale_targets.RULES,
    *autoscaling.RULES,
    *wiring.RULES,
    *overlaps.RULES,
    *network.RULES,
    *configuration.RULES,
    *images.RULES,
    *storage.RULES,
    *resources.RULES,
    *lifecycle.RULES,
    *rollouts.RULES,
    *jobs.RULES,
    *security.RULES,
    *cluster.RULES,
    *pods.RULES,
)


def diagnose(manifests: ManifestSet) -> list[Finding]:
    """Return the findings of all rules, errors first, without duplicates."""
    found = chain.from_iterable(
        (replace(finding, code=rule.code) for finding in rule.check(manifests)) for rule in RULES
    )
    return sorted(dict.fromkeys(found), key=lambda finding: finding.severity != "error")
