"""The whole autoscaler: decisions, their conditions and reasons, and invariants."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.lab.autoscaler.hpa import Autoscaler, Decision
from elastic_yolo.lab.autoscaler.pods import Pod, Usage
from elastic_yolo.lab.autoscaler.spec import Behavior, HpaSpec, Metric, Policy, ScalingRules
from tests.lab.pods import pods, usages

SEVENTY = Metric(utilization=70)
BASE = Behavior(
    up=ScalingRules((Policy("Percent", 100, 15), Policy("Pods", 2, 15)), window_s=0),
    down=ScalingRules((Policy("Percent", 50, 60),), window_s=120),
)
"""The behavior of k8s/base."""
CPU = Metric(utilization=50)
QPS = Metric("qps", "External")


def spec(
    least: int = 1, limit: int = 20, behavior: Behavior | None = BASE, *metrics: Metric
) -> HpaSpec:
    return HpaSpec("inference", limit, metrics or (SEVENTY,), least, behavior)


def sync(autoscaler: Autoscaler, now: float, current: int, percent: int) -> Decision:
    """Run one sync with `current` pods that all use `percent` of their CPU request."""
    levels = usages(*[10 * percent] * current, at=now)
    return autoscaler.decide(now, current, pods(current), {"cpu": levels})


def conditions(decision: Decision) -> list[tuple[str, bool, str]]:
    return [(one.type, one.status, one.reason) for one in decision.conditions]


def test_up_as_fast_as_the_policies_allow() -> None:
    autoscaler = Autoscaler(spec())

    decision = sync(autoscaler, 0, 2, 400)

    assert decision.why == "2 -> 4: 400 % > 70 %, wants 12, scaleUp allows 4"
    assert (decision.desired, decision.value) == (4, 400)
    assert conditions(decision) == [
        ("AbleToScale", True, "SucceededRescale"),
        ("ScalingActive", True, "ValidMetricFound"),
        ("ScalingLimited", True, "ScaleUpLimit"),
    ]


def test_a_second_sync_within_the_period_adds_nothing() -> None:
    autoscaler = Autoscaler(spec())
    assert sync(autoscaler, 0, 2, 400).desired == 4

    assert sync(autoscaler, 14, 4, 400).desired == 4
    assert sync(autoscaler, 15, 4, 400).desired == 8


def test_max_replicas_limits_growth() -> None:
    decision = sync(Autoscaler(spec(limit=5)), 0, 4, 400)

    assert decision.desired == 5
    assert decision.why == "4 -> 5: 400 % > 70 %, wants 23, maxReplicas is 5"
    assert decision.reason("ScalingLimited") == "TooManyReplicas"


def test_within_the_tolerance_nothing_changes() -> None:
    decision = sync(Autoscaler(spec()), 0, 3, 75)

    assert decision.why == "stays at 3: 75 % > 70 %, within the tolerance of 10 %"
    assert conditions(decision) == [
        ("AbleToScale", True, "ReadyForNewScale"),
        ("ScalingActive", True, "ValidMetricFound"),
        ("ScalingLimited", False, "DesiredWithinRange"),
    ]


def test_down_waits_for_the_window_and_then_for_the_policy() -> None:
    autoscaler, current, seen = Autoscaler(spec()), 8, []
    for now in range(0, 300, 15):
        current = sync(autoscaler, now, current, 5).desired
        seen.append(current)

    # The first recommendation, that of the number found, leaves the window at 120 s.
    assert seen[:8] == [8] * 8
    assert seen[8:12] == [4] * 4
    assert seen[12:16] == [2] * 4
    assert seen[16:] == [1] * 4


def test_the_reason_names_the_stabilization_window() -> None:
    decision = sync(Autoscaler(spec()), 0, 4, 10)

    assert decision.why == "stays at 4: 10 % < 70 %, wants 1, 120 s window holds 4"
    assert decision.reason("AbleToScale") == "ScaleDownStabilized"


def test_pods_that_start_are_counted_as_idle() -> None:
    starting = [*pods(2), Pod("new", {"cpu": 1000}, started_at=580.0, ready=False)]
    levels = usages(2000, 2000, at=600.0) | {"new": Usage(1000, 600.0, 15.0)}

    decision = Autoscaler(spec()).decide(600.0, 3, starting, {"cpu": levels})

    assert decision.why == (
        "3 -> 6: 200 % > 70 %, but 133 % if the pod that just started counts as idle"
    )
    assert decision.desired == 6


def test_at_zero_replicas_the_autoscaler_is_disabled() -> None:
    decision = Autoscaler(spec()).decide(0, 0, [], {"cpu": {}})

    assert (decision.desired, decision.reason("ScalingActive")) == (0, "ScalingDisabled")


@pytest.mark.parametrize(
    ("current", "desired", "words"),
    [
        (30, 20, "30 -> 20: above maxReplicas"),
        (1, 2, "1 -> 2: below minReplicas"),
    ],
)
def test_replicas_outside_the_bounds_need_no_metrics(
    current: int, desired: int, words: str
) -> None:
    decision = Autoscaler(spec(2)).decide(0, current, pods(current), {"cpu": None})

    assert (decision.desired, decision.why) == (desired, words)


def test_without_metrics_replicas_stay() -> None:
    decision = Autoscaler(spec()).decide(0, 3, pods(3), {"cpu": None})

    assert decision.why == "stays at 3: no cpu metrics of any pod"
    assert conditions(decision) == [
        ("AbleToScale", True, "SucceededGetScale"),
        ("ScalingActive", False, "FailedGetResourceMetric"),
    ]


def test_a_missing_metric_does_not_prevent_scaling_up() -> None:
    """Kubernetes' TestScaleUpOneMetricEmpty."""
    autoscaler = Autoscaler(spec(2, 6, None, Metric(utilization=30), QPS))

    assert autoscaler.decide(0, 3, pods(3), {"cpu": usages(300, 400, 500)}).desired == 4


def test_a_missing_metric_prevents_scaling_down() -> None:
    """Kubernetes' TestNoScaleDownOneMetricEmpty."""
    autoscaler = Autoscaler(spec(2, 6, None, CPU, QPS))

    decision = autoscaler.decide(0, 5, pods(5), {"cpu": usages(100, 300, 500, 250, 250)})

    assert decision.desired == 5
    assert conditions(decision) == [
        ("AbleToScale", True, "SucceededGetScale"),
        ("ScalingActive", False, "FailedGetExternalMetric"),
    ]
    assert "External metric qps is not available here" in decision.why


def test_of_several_metrics_the_largest_proposal_counts() -> None:
    memory = Metric("memory", average_milli=100_000)
    autoscaler = Autoscaler(spec(1, 20, None, CPU, memory))

    decision = autoscaler.decide(
        0, 2, pods(2), {"cpu": usages(600, 600), "memory": usages(200_000, 200_000)}
    )

    assert decision.desired == 4
    assert decision.why == "2 -> 4: memory 200000m > 100000m per pod"


periods = st.sampled_from((15, 30, 60, 90))
policies = st.lists(
    st.builds(Policy, st.just("Pods"), st.integers(1, 8), periods)
    | st.builds(Policy, st.just("Percent"), st.integers(1, 120), periods),
    min_size=1,
    max_size=2,
).map(tuple)
some_rules = st.builds(
    ScalingRules, policies, st.sampled_from(("Max", "Min")), st.sampled_from((0, 45, 120))
)
specs = st.builds(
    lambda least, more, target, up, down: HpaSpec(
        "x", least + more, (Metric(utilization=target),), least, Behavior(up, down)
    ),
    st.integers(1, 5),
    st.integers(0, 40),
    st.integers(20, 120),
    some_rules,
    some_rules,
)
spells = st.tuples(st.sampled_from((0, 500, 60_000)) | st.integers(0, 60_000), st.integers(1, 12))
loads = st.lists(spells, min_size=1, max_size=8).map(
    lambda course: [load for load, syncs in course for _ in range(syncs)]
)
"""CPU demand in thousandths at each sync: stretches of high and of low demand."""


def run(spec: HpaSpec, loads: list[int]) -> Iterator[tuple[float, Decision]]:
    """Spread the load over the pods, run a sync every 15 s, and apply its decision."""
    autoscaler, current = Autoscaler(spec), spec.min_replicas
    for number, load in enumerate(loads):
        now = 15.0 * number
        level = usages(*[load // current] * current, at=now)
        decision = autoscaler.decide(now, current, pods(current), {"cpu": level})
        yield now, decision
        current = decision.desired


@given(specs, loads)
def test_replicas_never_leave_the_bounds(spec: HpaSpec, loads: list[int]) -> None:
    for _, decision in run(spec, loads):
        assert spec.min_replicas <= decision.desired <= spec.max_replicas


@given(specs, loads)
def test_no_period_changes_more_than_the_policies_allow(spec: HpaSpec, loads: list[int]) -> None:
    assert spec.behavior
    course: list[tuple[float, int]] = [(-math.inf, spec.min_replicas)]
    for now, decision in run(spec, loads):
        before, after = decision.current, decision.desired
        if after != before:
            rules = spec.behavior.up if after > before else spec.behavior.down
            bounds = [_bound(policy, course, now, up=after > before) for policy in rules.policies]
            if after > before:
                assert after <= (max if rules.select == "Max" else min)(bounds)
            else:
                assert after >= (min if rules.select == "Max" else max)(bounds)
        course.append((now, after))


def _bound(policy: Policy, course: list[tuple[float, int]], now: float, *, up: bool) -> float:
    """Return a policy's bound, from the replicas at the start of its period."""
    start = next(number for at, number in reversed(course) if at <= now - policy.period_s)
    if policy.type == "Pods":
        return start + policy.value if up else start - policy.value
    share = policy.value / 100
    return math.ceil(start * (1 + share)) if up else math.trunc(start * (1 - share))


@given(specs, st.integers(0, 60_000))
def test_under_a_constant_load_replicas_settle(spec: HpaSpec, load: int) -> None:
    course = [decision.desired for _, decision in run(spec, [load] * 400)]

    assert len(set(course[-100:])) == 1


@given(specs, loads)
def test_down_only_to_the_highest_recommendation_of_the_window(
    spec: HpaSpec, loads: list[int]
) -> None:
    assert spec.behavior
    window_s = spec.behavior.down.window_s or 0
    proposed: list[tuple[float, int]] = [(0.0, spec.min_replicas)]
    for now, decision in run(spec, loads):
        # The sentence names the proposal where a limit changed it.
        limited = re.search(r", wants (\d+)", decision.why)
        wanted = int(limited[1]) if limited else decision.desired
        proposed.append((now, wanted))
        recent = [number for at, number in proposed if at > now - window_s or at == now]
        if decision.desired < decision.current:
            assert decision.desired >= min(max(recent), decision.current)
