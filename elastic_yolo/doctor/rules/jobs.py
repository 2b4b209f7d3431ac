"""Rules for Jobs and CronJobs.

Source: kubernetes/kubernetes, pkg/apis/batch/validation/validation.go; Kubernetes, "Jobs".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from elastic_yolo.doctor.finding import Finding, error
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.values import mapping, mappings, strings, text, whole
from elastic_yolo.doctor.workload import Container, Workload, options_of

_REJECTED = "The API server rejects the job."
_BATCH = re.compile(r"(^|/)elastic-yolo/batch([:@]|$)")
_INDEX = "$(JOB_COMPLETION_INDEX)"


def job_never_ends(manifests: ManifestSet) -> Iterator[Finding]:
    """JOB01: the restartPolicy of a job is Always, or not set."""
    for workload in _jobs(manifests):
        stated = text(workload.pod, "restartPolicy")
        if stated in ("", "Always"):
            yield error(
                workload.at("restartPolicy"),
                f"restartPolicy is {stated or 'not set, so it is Always'}.",
                "A job whose containers always restart never completes: the API server rejects it.",
                "Set restartPolicy: Never (a new pod for each try) or OnFailure (the same pod).",
            )


def job_contradicts_itself(manifests: ManifestSet) -> Iterator[Finding]:
    """JOB02: fields of a job that do not go together."""
    for workload in _jobs(manifests):
        job = _spec(workload)
        for wrong, what, fix in _contradictions(job, text(workload.pod, "restartPolicy")):
            if wrong:
                yield error(workload.manifest.at(*workload.path[:-1]), what, _REJECTED, fix)


def _contradictions(job: dict[Any, Any], restart_policy: str) -> Iterator[tuple[bool, str, str]]:
    """Yield whether something is wrong, what it is, and what to do."""
    indexed = job.get("completionMode") == "Indexed"
    per_index = job.get("backoffLimitPerIndex") is not None
    rules = [text(rule, "action") for _, rule in mappings(job, "podFailurePolicy", "rules")]
    yield (
        (bool(rules) or per_index) and restart_policy == "OnFailure",
        f"{'podFailurePolicy' if rules else 'backoffLimitPerIndex'} with restartPolicy: OnFailure.",
        "Set restartPolicy: Never, so that each try is a pod of its own.",
    )
    yield (
        per_index and not indexed,
        "backoffLimitPerIndex without completionMode: Indexed.",
        "Set completionMode: Indexed, or use backoffLimit.",
    )
    yield (
        not per_index and (job.get("maxFailedIndexes") is not None or "FailIndex" in rules),
        "maxFailedIndexes, or the action FailIndex, without backoffLimitPerIndex.",
        "Set backoffLimitPerIndex; without indexes, the action is FailJob.",
    )
    yield (
        indexed and job.get("completions") is None,
        "completionMode is Indexed, without completions.",
        "Set completions: the number of indexes.",
    )


def index_not_passed(manifests: ManifestSet) -> Iterator[Finding]:
    """JOB03: the pods of a job do not do one part of the work each."""
    for workload in _jobs(manifests):
        job = _spec(workload)
        indexed = job.get("completionMode") == "Indexed"
        completions = whole(job, "completions")
        for container in workload.containers:
            stated = options_of(container) if _BATCH.search(container.image) else {}
            shares = stated.get("--completions", "")
            if not indexed and _uses_index(container):
                yield error(
                    container.at("args"),
                    f"{_INDEX} in a job whose completionMode is not Indexed.",
                    "Kubernetes sets the variable in Indexed jobs only: the program gets the text "
                    "as it is written here.",
                    "Set completionMode: Indexed and completions.",
                )
            elif indexed and shares and shares != str(completions):
                yield error(
                    container.at("args"),
                    f"--completions is {shares}, and the job has {completions}.",
                    "The pictures are divided into more parts than pods do, or pods get a number "
                    "that is no part's.",
                    "Set both to the same number.",
                )
            elif indexed and shares and stated.get("--index") != _INDEX:
                yield error(
                    container.at("args"),
                    f"--index is {stated.get('--index', 'not set')}, in every pod of the job.",
                    "All pods do the same part of the pictures, and nobody the others.",
                    f"Set --index={_INDEX}.",
                )


def _uses_index(container: Container) -> bool:
    words = [*strings(container.body, "command"), *strings(container.body, "args")]
    own = [text(one, "name") for _, one in mappings(container.body, "env")]
    return any(_INDEX in word for word in words) and "JOB_COMPLETION_INDEX" not in own


def _jobs(manifests: ManifestSet) -> Iterator[Workload]:
    return (one for one in manifests.workloads if one.is_job and one.containers)


def _spec(workload: Workload) -> dict[Any, Any]:
    """Return the spec of the job, also of one that a CronJob makes."""
    return mapping(workload.manifest.body, *workload.path[:-1])


RULES = (
    Rule("JOB01", job_never_ends),
    Rule("JOB02", job_contradicts_itself),
    Rule("JOB03", index_not_passed),
)
