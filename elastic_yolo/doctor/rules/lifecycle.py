"""Rules for start, shutdown, rollout and eviction of pods."""

from __future__ import annotations

from collections.abc import Iterator

from elastic_yolo.doctor.drain import drain_s, is_service, is_stream, pre_stop_s
from elastic_yolo.doctor.finding import Finding, error, warning
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.manifests import Manifest
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.selectors import label_values, show
from elastic_yolo.doctor.values import mapping, seconds, share_of, text, whole
from elastic_yolo.doctor.workload import Container

# Python with a model to load does not start faster than this.
_SLOW_START_S = 10
_DEFAULT_GRACE_S = 30
_LARGEST = 10**6


def killed_while_starting(manifests: ManifestSet) -> Iterator[Finding]:
    """PRB02: a livenessProbe fails during the start."""
    for container in _containers(manifests):
        probe = mapping(container.body, "livenessProbe")
        if not probe or mapping(container.body, "startupProbe"):
            continue
        after_s = _failure_after_s(probe)
        if after_s < _SLOW_START_S:
            yield warning(
                container.at("livenessProbe"),
                f"The livenessProbe of {container.name} fails {after_s} s after the start, and "
                "there is no startupProbe.",
                "On a slow node or with a large model, the kubelet kills the container while it "
                "loads, again and again (CrashLoopBackOff).",
                "Add a startupProbe that allows for the slowest start.",
            )


def killed_while_waiting(manifests: ManifestSet) -> Iterator[Finding]:
    """PRB03: a probe fails before MODEL_WAIT_S is over."""
    for container in _containers(manifests):
        wait = seconds(manifests.environment(container).get("MODEL_WAIT_S"))
        name = next(
            (one for one in ("startupProbe", "livenessProbe") if mapping(container.body, one)), None
        )
        if wait is None or name is None or not is_service(container):
            continue
        after_s = _failure_after_s(mapping(container.body, name))
        if after_s <= wait:
            yield error(
                container.at(name),
                f"The service waits up to {wait:g} s for its model (MODEL_WAIT_S), and its {name} "
                f"fails after {after_s} s.",
                "The kubelet kills the first pods while the models are downloaded, again and "
                "again.",
                f"Set failureThreshold x periodSeconds above {wait:g}, plus the time to load.",
            )


def killed_while_draining(manifests: ManifestSet) -> Iterator[Finding]:
    """TERM01: the grace period is shorter than the shutdown."""
    for workload in manifests.workloads:
        stated = whole(workload.pod, "terminationGracePeriodSeconds")
        grace = _DEFAULT_GRACE_S if stated is None else stated
        for container in workload.containers:
            sleep = pre_stop_s(container)
            drain = drain_s(manifests, container)
            if sleep + drain < grace or sleep + drain == 0:
                continue
            names = (
                "--drain-timeout" if is_stream(container) else "DRAIN_DELAY_S and DRAIN_TIMEOUT_S"
            )
            parts = [f"preStop sleeps {sleep:g} s"] if sleep else []
            parts += [f"draining may take {drain:g} s ({names})"] * (drain > 0)
            yield error(
                workload.at("terminationGracePeriodSeconds"),
                f"The container {container.name} is killed {grace} s after SIGTERM; "
                f"{' and '.join(parts)}.",
                "Requests in flight are aborted at every rollout and every scale-down.",
                f"Set terminationGracePeriodSeconds above {sleep + drain:g}.",
            )


def rollout_blocked(manifests: ManifestSet) -> Iterator[Finding]:
    """DEP02: a rollout can add and remove no pod, or removes all."""
    for one in manifests.of_kind("Deployment"):
        strategy = mapping(one.spec, "strategy", "rollingUpdate")
        surge, unavailable = strategy.get("maxSurge", "25%"), strategy.get("maxUnavailable", "25%")
        place = one.at("spec", "strategy", "rollingUpdate")
        if text(one.spec, "strategy", "type") == "Recreate":
            continue
        if _is_zero(surge) and _is_zero(unavailable):
            yield error(
                place,
                "maxSurge and maxUnavailable are both 0.",
                "A rollout could neither add nor remove a pod: the API server rejects it.",
                "Set maxSurge: 1 for a rollout without downtime, or maxUnavailable: 1 where the "
                "nodes have no room for one more pod.",
            )
        elif unavailable == "100%":
            yield warning(
                place,
                "maxUnavailable is 100%.",
                "All pods may be stopped before a new one is ready: every rollout is an outage.",
                "Set maxUnavailable: 0 and maxSurge: 1.",
            )


def budget_stated_twice(manifests: ManifestSet) -> Iterator[Finding]:
    """PDB03: a budget has both minAvailable and maxUnavailable."""
    for budget in manifests.of_kind("PodDisruptionBudget"):
        if _has_both_limits(budget):
            yield error(
                budget.at("spec", "maxUnavailable"),
                "The budget has minAvailable and maxUnavailable.",
                "The API server rejects it: the two exclude each other.",
                "Remove minAvailable.",
            )


def _has_both_limits(budget: Manifest) -> bool:
    return {"minAvailable", "maxUnavailable"} <= {
        key for key, value in budget.spec.items() if value is not None
    }


def eviction_never_allowed(manifests: ManifestSet) -> Iterator[Finding]:
    """PDB01: a budget never allows an eviction, or selects no pod."""
    for budget in manifests.of_kind("PodDisruptionBudget"):
        if _has_both_limits(budget):
            continue
        selector = budget.spec.get("selector")
        # Without a selector it chooses no pod; an empty one chooses all.
        chosen = [] if selector is None else manifests.selected_by(budget.namespace, selector)
        total = sum(min(manifests.min_replicas(one), _LARGEST) for one in chosen)
        least = share_of(budget.spec.get("minAvailable"), total, up=True)
        fewer = share_of(budget.spec.get("maxUnavailable"), total, up=True)
        if not chosen:
            if (
                manifests.has_workloads(budget.namespace)
                and mapping(budget.spec, "selector")
                and not manifests.may_be_made_for(budget.namespace, label_values(selector))
            ):
                yield warning(
                    budget.at("spec", "selector"),
                    f"The budget selects {show(budget.spec.get('selector'))}, and no pod template "
                    "has these labels.",
                    "It protects no pod.",
                    "Set the selector to labels of the pods.",
                )
        elif (least is not None and least >= total > 0) or fewer == 0:
            key = "minAvailable" if fewer is None else "maxUnavailable"
            yield warning(
                budget.at("spec", key),
                f"{key}: {budget.spec.get(key)} with {total} pod{'s' if total != 1 else ''} "
                "never allows an eviction.",
                "kubectl drain and cluster upgrades never finish on a node that runs the pod.",
                "Set maxUnavailable: 1, which works with a single pod as well.",
            )


def _failure_after_s(probe: dict[object, object]) -> int:
    """Return the seconds from the start until a probe has failed failureThreshold times."""

    def stated(name: str, default: int) -> int:
        found = whole(probe, name)
        return default if found is None else found

    tries = stated("failureThreshold", 3) * stated("periodSeconds", 10)
    return stated("initialDelaySeconds", 0) + tries


def _is_zero(value: object) -> bool:
    return value in (0, "0", "0%") and not isinstance(value, bool)


def _containers(manifests: ManifestSet) -> Iterator[Container]:
    for workload in manifests.workloads:
        yield from workload.containers


RULES = (
    Rule("PRB02", killed_while_starting),
    Rule("PRB03", killed_while_waiting),
    Rule("TERM01", killed_while_draining),
    Rule("DEP02", rollout_blocked),
    Rule("PDB01", eviction_never_allowed),
    Rule("PDB03", budget_stated_twice),
)
