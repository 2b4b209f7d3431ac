"""External metrics: what they propose, and whole autoscalers that follow one.

The cases with numbers are those that Kubernetes itself tests (kubernetes/kubernetes,
pkg/controller/podautoscaler/replica_calculator_test.go, the tests named ...CMExternal), in
thousandths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.lab.autoscaler.external import propose_external
from elastic_yolo.lab.autoscaler.hpa import Autoscaler, Decision
from elastic_yolo.lab.autoscaler.pods import Pod
from elastic_yolo.lab.autoscaler.replicas import Tolerances
from elastic_yolo.lab.autoscaler.spec import Behavior, HpaSpec, Metric, Policy, ScalingRules
from elastic_yolo.lab.errors import MetricUnavailable
from tests.lab.pods import pods

TENTH = Tolerances(0.1, 0.1)
NARROW = Tolerances(0.1, 0.01)


class Case(NamedTuple):
    """What there is, and what is to come of it."""

    name: str
    current: int
    value: int
    target: int
    replicas: int
    unready: Sequence[int] = ()
    tolerances: Tolerances = TENTH


VALUES = [
    Case("ScaleUpCMExternal", 1, 8600, 4400, 2),
    Case("ScaleUpCMExternalIgnoresUnreadyPods", 3, 8600, 4400, 2, (0, 2)),
    Case("ScaleDownCMExternal", 5, 8600, 14334, 3),
    Case("ToleranceCMExternal", 3, 8600, 8888, 3),
    Case("ConfigurableToleranceCMExternal", 3, 8900, 8800, 4, (), NARROW),
]
AVERAGES = [
    Case("ScaleUpPerPodCMExternal", 3, 8600, 2150, 4),
    Case("ScaleDownPerPodCMExternal", 5, 8600, 2867, 3),
    Case("TolerancePerPodCMExternal", 3, 8600, 2900, 3),
    Case("ConfigurableTolerancePerPodCMExternal", 3, 8600, 2800, 4, (), NARROW),
]
PER_POD = {3: 2867, 5: 1720}
"""The value per pod in the status of their autoscalers, by the number of pods."""


@pytest.mark.parametrize("case", VALUES, ids=lambda case: case.name)
def test_a_value_asks_for_what_kubernetes_asks_for(case: Case) -> None:
    some = pods(case.current, unready=case.unready)

    proposal = propose_external(
        Metric("qps", "External", value_milli=case.target),
        case.value,
        some,
        case.current,
        case.tolerances,
    )

    assert (proposal.replicas, proposal.value) == (case.replicas, case.value)


@pytest.mark.parametrize("case", AVERAGES, ids=lambda case: case.name)
def test_an_average_value_asks_for_what_kubernetes_asks_for(case: Case) -> None:
    proposal = propose_external(
        Metric("qps", "External", average_milli=case.target),
        case.value,
        pods(case.current),
        case.current,
        case.tolerances,
    )

    assert (proposal.replicas, proposal.value) == (case.replicas, PER_POD[case.current])


tolerances = st.builds(
    Tolerances,
    *[st.sampled_from((0.0, 0.05, 0.1, 0.5))] * 2,
)
milli = st.integers(0, 10**7)
targets = st.integers(1, 10**6)
replicas = st.integers(0, 300)


def is_within(ratio: Fraction | None, some: Tolerances) -> bool:
    """Tell whether a ratio is in the closed interval; the bounds are floats, as Kubernetes'."""
    return ratio is not None and 1.0 - some.down <= float(ratio) <= 1.0 + some.up


@given(milli, targets, replicas, st.integers(0, 300), tolerances)
def test_an_average_value_is_divided_by_its_target(
    value: int, target: int, current: int, ready: int, some: Tolerances
) -> None:
    """As GetExternalPerPodMetricReplicas computes it, in exact fractions."""
    there = [Pod(str(one), ready=one < ready) for one in range(current)]
    metric = Metric("qps", "External", average_milli=target)

    found = propose_external(metric, value, there, current, some)

    near = is_within(Fraction(value, target * current) if current else None, some)
    assert found.replicas == (current if near else -(-value // target))
    assert found.is_near is near
    assert found.value == (-(-value // current) if current else value)


@given(milli, targets, replicas, st.integers(0, 300), tolerances)
def test_a_value_multiplies_the_ready_pods(
    value: int, target: int, current: int, ready: int, some: Tolerances
) -> None:
    """As getUsageRatioReplicaCount computes it; 0.1 % of a pod may be a matter of rounding."""
    there = [Pod(str(one), ready=one < ready) for one in range(current)]
    metric = Metric("qps", "External", value_milli=target)

    found = propose_external(metric, value, there, current, some)

    ratio = Fraction(value, target)
    if current == 0:
        expected = ratio
    elif is_within(ratio, some):
        expected = Fraction(current)
    else:
        expected = ratio * min(ready, current)
    assert found.replicas in {math.ceil(expected - Fraction(1, 1000)), math.ceil(expected)}
    assert found.value == value


@pytest.mark.parametrize("target", ["average_milli", "value_milli"])
def test_no_proposal_is_larger_than_the_api_can_hold(target: str) -> None:
    """Kubernetes limits it to the largest 32-bit integer."""
    metric = Metric("lag", "External", **{target: 1})  # type: ignore[arg-type]

    assert propose_external(metric, 10**15, pods(2), 2, TENTH).replicas == 2**31 - 1
    assert propose_external(metric, 10**15, [], 0, TENTH).replicas == 2**31 - 1


def test_a_metric_without_a_value_proposes_nothing() -> None:
    metric = Metric("lag", "External", average_milli=1)

    with pytest.raises(MetricUnavailable, match="External metric lag is not available here"):
        propose_external(metric, None, pods(1), 1, TENTH)


def test_a_value_needs_pods_to_multiply() -> None:
    metric = Metric("lag", "External", value_milli=1000)

    with pytest.raises(MetricUnavailable, match="there are no pods"):
        propose_external(metric, 9000, [], 2, TENTH)


LAG = Metric("lag", "External", average_milli=100_000)
BEHAVIOR = Behavior(
    up=ScalingRules((Policy("Percent", 100, 15), Policy("Pods", 2, 15)), window_s=0),
    down=ScalingRules((Policy("Percent", 50, 60),), window_s=120),
)


def sync(
    metric: Metric, current: int, value: int, least: int = 1, behavior: Behavior | None = None
) -> Decision:
    autoscaler = Autoscaler(HpaSpec("x", 10, (metric,), least, behavior))
    return autoscaler.decide(0, current, pods(current), {}, {"lag": 1000 * value})


@pytest.mark.parametrize(
    ("current", "value", "words"),
    [
        (4, 500, "4 -> 5: lag 125 > 100 per pod"),
        (3, 500, "3 -> 5: lag 166667m > 100 per pod"),
        (2, 210, "stays at 2: lag 105 > 100 per pod, within the tolerance of 10 %"),
        (4, 100, "stays at 4: lag 25 < 100 per pod, wants 1, 300 s window holds 4"),
        (2, 5000, "2 -> 4: lag 2500 > 100 per pod, wants 50, at most 4 in one step"),
    ],
)
def test_a_decision_names_the_value_per_pod(current: int, value: int, words: str) -> None:
    assert sync(LAG, current, value).why == words


def test_a_target_for_the_whole_metric_names_the_pods_that_are_not_ready() -> None:
    autoscaler = Autoscaler(HpaSpec("x", 10, (Metric("lag", "External", value_milli=4400),)))

    decision = autoscaler.decide(0, 3, pods(3, unready=[0, 2]), {}, {"lag": 8600})

    assert decision.why == (
        "stays at 3: lag 8600m > 4400m, times the 1 of 3 pods that are ready, wants 2, "
        "300 s window holds 3"
    )


def test_with_a_minimum_of_zero_the_first_pods_come_from_the_metric() -> None:
    assert sync(LAG, 0, 250, least=0).why == "0 -> 3: lag 250 > 100 per pod"
    assert sync(LAG, 0, 0, least=0).why == "stays at 0: lag 0 < 100 per pod"
    value = Metric("lag", "External", value_milli=100_000)
    assert sync(value, 0, 250, least=0).why == "0 -> 3: lag 250 > 100"
    assert sync(value, 0, 0, least=0).desired == 0


def test_with_a_minimum_above_zero_an_autoscaler_at_zero_is_disabled() -> None:
    decision = sync(LAG, 0, 250)

    assert (decision.desired, decision.reason("ScalingActive")) == (0, "ScalingDisabled")


def test_a_policy_in_per_cent_never_leaves_zero() -> None:
    percent = Behavior(up=ScalingRules((Policy("Percent", 100, 15),), window_s=0))

    assert sync(LAG, 0, 250, least=0, behavior=percent).desired == 0
    assert sync(LAG, 0, 250, least=0, behavior=BEHAVIOR).desired == 2


def test_without_a_value_nothing_changes() -> None:
    decision = Autoscaler(HpaSpec("x", 10, (LAG,), 0)).decide(0, 3, pods(3), {})

    assert (decision.desired, decision.reason("ScalingActive")) == (3, "FailedGetExternalMetric")
