"""Starting, stopping, replacing pods, and emptying nodes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from elastic_yolo.doctor.finding import Finding, error, warning
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.selectors import show
from elastic_yolo.doctor.values import mapping, seconds, share_of, strings, text, whole
from elastic_yolo.doctor.workload import Container

# Less than this is a start that Python with a model to load does not make.
_SLOW_START_S = 10
_DEFAULT_GRACE_S = 30
_LARGEST = 10**6
# What services/common/core/settings.py has where nothing is stated; a test compares.
DRAIN_DEFAULTS_S = {"DRAIN_DELAY_S": 0.0, "DRAIN_TIMEOUT_S": 25.0}
_SERVICE = re.compile(r"(^|/)elastic-yolo/(web|preprocess|inference(-gpu)?)([:@]|$)")
_SLEEP = re.compile(r"(?:^|[\s/;&])sleep\s+(\d{1,6}(?:\.\d{1,6})?)([smh]?)(?:$|[\s;&])")
_UNIT_S = {"": 1, "s": 1, "m": 60, "h": 3600}


def killed_while_starting(manifests: ManifestSet) -> Iterator[Finding]:
    """A liveness probe that counts from the first second."""
    for container in _containers(manifests):
        probe = mapping(container.body, "livenessProbe")
        if not probe or mapping(container.body, "startupProbe"):
            continue
        patience = _patience(probe)
        if patience < _SLOW_START_S:
            yield warning(
                container.at("livenessProbe"),
                f"The container {container.name} is restarted {patience} s after its start if it "
                "does not answer by then, and has no startupProbe.",
                "A slow node or a large model takes longer: it is killed while it loads, begins "
                "anew, and never gets ready (CrashLoopBackOff).",
                "Add a startupProbe with as many tries as the slowest start takes.",
            )


def killed_while_waiting(manifests: ManifestSet) -> Iterator[Finding]:
    """A service that waits for its model, and a probe that does not wait for it."""
    for container in _containers(manifests):
        wait = seconds(manifests.environment(container).get("MODEL_WAIT_S"))
        name = next(
            (one for one in ("startupProbe", "livenessProbe") if mapping(container.body, one)), None
        )
        if wait is None or name is None or not _is_service(container):
            continue
        patience = _patience(mapping(container.body, name))
        if patience <= wait:
            yield error(
                container.at(name),
                f"It may wait {wait:g} s for its model (MODEL_WAIT_S), and its {name} gives up "
                f"after {patience}.",
                "The first pods are killed while the models are fetched, again and again.",
                f"Let failureThreshold times periodSeconds be more than {wait:g}, and some more "
                "for loading.",
            )


def killed_while_draining(manifests: ManifestSet) -> Iterator[Finding]:
    """Less time to stop than stopping takes."""
    for workload in manifests.workloads:
        stated = whole(workload.pod, "terminationGracePeriodSeconds")
        grace = _DEFAULT_GRACE_S if stated is None else stated
        for container in workload.containers:
            sleep = _pre_stop_s(container)
            drain = _drain_s(manifests, container)
            if sleep + drain < grace or sleep + drain == 0:
                continue
            parts = [f"preStop sleeps {sleep:g} s"] if sleep else []
            parts += [f"draining may take {drain:g} s (DRAIN_DELAY_S and DRAIN_TIMEOUT_S)"] * (
                drain > 0
            )
            yield error(
                workload.at("terminationGracePeriodSeconds"),
                f"The container {container.name} is killed {grace} s after it is told to stop; "
                f"{' and '.join(parts)}.",
                "Requests in flight are cut off at every rollout and every scale-down.",
                f"terminationGracePeriodSeconds above {sleep + drain:g}.",
            )


def rollout_stands_still(manifests: ManifestSet) -> Iterator[Finding]:
    """No pod more, and no pod less."""
    for one in manifests.of_kind("Deployment"):
        strategy = mapping(one.spec, "strategy", "rollingUpdate")
        surge, unavailable = strategy.get("maxSurge", "25%"), strategy.get("maxUnavailable", "25%")
        place = one.at("spec", "strategy", "rollingUpdate")
        if text(one.spec, "strategy", "type") == "Recreate":
            continue
        if _is_none(surge) and _is_none(unavailable):
            yield error(
                place,
                "maxSurge and maxUnavailable are both 0.",
                "A rollout could neither add a pod nor take one away: the API server refuses it.",
                "maxSurge: 1 for a rollout without loss, maxUnavailable: 1 where there is no room "
                "for one more.",
            )
        elif unavailable == "100%":
            yield warning(
                place,
                "maxUnavailable is 100%.",
                "All pods may go at once before a new one is ready: every rollout is an outage.",
                "maxUnavailable: 0 and maxSurge: 1.",
            )


def never_evicted(manifests: ManifestSet) -> Iterator[Finding]:
    """A budget that allows nothing."""
    for budget in manifests.of_kind("PodDisruptionBudget"):
        chosen = manifests.selected_by(budget.namespace, budget.spec.get("selector"))
        total = sum(min(manifests.min_replicas(one), _LARGEST) for one in chosen)
        least = share_of(budget.spec.get("minAvailable"), total, up=True)
        fewer = share_of(budget.spec.get("maxUnavailable"), total, up=True)
        if not chosen:
            if manifests.has_workloads(budget.namespace) and mapping(budget.spec, "selector"):
                yield warning(
                    budget.at("spec", "selector"),
                    f"The budget is for {show(budget.spec.get('selector'))}, and no pod template "
                    "has these labels.",
                    "It protects nobody.",
                    "Let the selector say what the pods' labels are.",
                )
        elif (least is not None and least >= total > 0) or fewer == 0:
            key = "minAvailable" if fewer is None else "maxUnavailable"
            yield warning(
                budget.at("spec", key),
                f"{key}: {budget.spec.get(key)} with {total} pod{'s' if total != 1 else ''} "
                "never allows an eviction.",
                "kubectl drain and cluster upgrades wait for ever at the node that has it.",
                "maxUnavailable: 1, which also holds while there is one pod.",
            )


def restarted_for_ever(manifests: ManifestSet) -> Iterator[Finding]:
    """A job that could never end."""
    for workload in manifests.workloads:
        if workload.manifest.kind not in ("Job", "CronJob") or not workload.containers:
            continue
        stated = text(workload.pod, "restartPolicy")
        if stated in ("", "Always"):
            yield error(
                workload.at("restartPolicy"),
                f"restartPolicy is {stated or 'not stated, which means Always'}.",
                "A job whose containers are always started again never ends: the API server "
                "refuses it.",
                "restartPolicy: Never (a new pod for each try) or OnFailure (the same pod again).",
            )


def _patience(probe: dict[object, object]) -> int:
    """Return the seconds after which a probe has failed often enough."""

    def stated(name: str, default: int) -> int:
        found = whole(probe, name)
        return default if found is None else found

    tries = stated("failureThreshold", 3) * stated("periodSeconds", 10)
    return stated("initialDelaySeconds", 0) + tries


def _is_service(container: Container) -> bool:
    return _SERVICE.search(container.image) is not None


def _drain_s(manifests: ManifestSet, container: Container) -> float:
    stated = manifests.environment(container)
    if not _is_service(container) and not DRAIN_DEFAULTS_S.keys() & stated.keys():
        return 0.0
    found = {name: seconds(stated.get(name)) for name in DRAIN_DEFAULTS_S}
    return sum(
        DRAIN_DEFAULTS_S[name] if value is None else max(0.0, value)
        for name, value in found.items()
    )


def _pre_stop_s(container: Container) -> float:
    hook = mapping(container.body, "lifecycle", "preStop")
    slept = whole(hook, "sleep", "seconds")
    if slept is not None:
        return float(min(max(0, slept), _LARGEST))
    command = " ".join(strings(hook, "exec", "command"))
    return sum(float(number) * _UNIT_S[unit] for number, unit in _SLEEP.findall(command))


def _is_none(value: object) -> bool:
    return value in (0, "0", "0%") and not isinstance(value, bool)


def _containers(manifests: ManifestSet) -> Iterator[Container]:
    for workload in manifests.workloads:
        yield from workload.containers


RULES = (
    Rule("PRB02", killed_while_starting),
    Rule("PRB03", killed_while_waiting),
    Rule("TERM01", killed_while_draining),
    Rule("DEP02", rollout_stands_still),
    Rule("PDB01", never_evicted),
    Rule("JOB01", restarted_for_ever),
)
