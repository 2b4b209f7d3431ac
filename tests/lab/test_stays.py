"""Why tiers keep their number of pods: foreseen at the start, and counted over a run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastic_yolo.lab.autoscaler.manifest import Tier
from elastic_yolo.lab.autoscaler.spec import Behavior, Controller, HpaSpec, Metric, ScalingRules
from elastic_yolo.lab.load.arrivals import Arrivals
from elastic_yolo.lab.simulate import Work, simulate
from elastic_yolo.lab.stays import Told, count_stays, describe_stays, foresee
from elastic_yolo.lab.timeline import Sample

CPU = Metric(utilization=70)
REQUESTS = {"cpu": 1000, "cpu/one": 1000}
NEVER = "so its autoscaler never scales"


def tier(*metrics: Metric, **fields: object) -> Tier:
    """Return a tier of one pod of one container; `fields` are of its autoscaler."""
    spec = replace(HpaSpec("one", 5, metrics or (CPU,)), **fields)  # type: ignore[arg-type]
    return Tier(
        "one", spec, 1000, 1000, container="one", requests=REQUESTS, containers=("one", "logs")
    )


def run(some: Tier, rate: float = 300.0) -> list[Sample]:
    samples: list[Sample] = []
    arrivals = Arrivals("step", rate / 8, rate, 1200)
    simulate([(some, Work(0.01, 5))], arrivals, Controller(), samples.append)
    return samples


@pytest.mark.parametrize("kind", ["External", "Object", "Pods"])
def test_a_metric_of_an_adapter_is_said_to_be_missing(kind: str) -> None:
    missing = Metric("qps", kind)  # type: ignore[arg-type]

    (why, never) = foresee(tier(missing))
    (_, only_up) = foresee(tier(CPU, missing))
    samples = run(tier(missing))

    assert why.startswith(f"the {kind} metric qps comes from a metrics adapter")
    assert never == NEVER
    assert only_up.startswith("so nothing is removed")
    assert {sample.held for sample in samples} == {f"{kind} metric qps is not available here"}
    assert {sample.desired for sample in samples} == {1}


def test_beside_a_missing_metric_pods_are_only_added() -> None:
    samples = run(tier(CPU, Metric("qps", "External")))

    assert max(sample.desired for sample in samples) == samples[-1].desired == 5
    assert samples[-1].held == "nothing is removed while External metric qps is not available here"


@pytest.mark.parametrize(
    ("metric", "changes", "words"),
    [
        (Metric("memory", utilization=70), {}, "the Resource metric memory is not measured here"),
        (
            Metric("cpu", "ContainerResource", utilization=70, container="two"),
            {},
            "the pods have no container two (they have one, logs)",
        ),
        (
            Metric("cpu", "ContainerResource", utilization=70, container="logs"),
            {"requests": {**REQUESTS, "cpu/logs": 10}},
            "the usage of the container logs is not measured here, only that of one",
        ),
        (
            CPU,
            {"requests": {"cpu/one": 1000}, "unrequested": ("logs",)},
            "logs has no CPU request, and the target is a percentage of it: FailedGetResource",
        ),
        (
            Metric("cpu", "ContainerResource", utilization=70, container="one"),
            {"requests": {"cpu": 500}},
            "one has no CPU request, and the target is a percentage of it: FailedGetContainer",
        ),
        (
            Metric("cpu", "ContainerResource", utilization=70, container="one"),
            {"requests": {"cpu": 10, "cpu/one": 0}},
            "the CPU request of one is 0, and the target is a percentage of it: FailedGetContainer",
        ),
    ],
)
def test_a_metric_without_a_value_is_foreseen_and_keeps_the_pods(
    metric: Metric, changes: dict[str, object], words: str
) -> None:
    some = replace(tier(metric), **changes)  # type: ignore[arg-type]

    (why, never) = foresee(some)

    assert why.startswith(words)
    assert never == NEVER
    assert {sample.desired for sample in run(some)} == {1}


def test_a_container_with_a_request_scales_beside_one_without() -> None:
    metric = Metric("cpu", "ContainerResource", utilization=70, container="one")
    some = replace(tier(metric), requests={"cpu/one": 1000}, unrequested=("logs",))

    assert list(foresee(some)) == []
    assert max(sample.desired for sample in run(some)) == 5


def test_limits_that_no_load_overcomes_are_foreseen() -> None:
    disabled = ScalingRules((), "Disabled")

    assert list(foresee(tier())) == []
    assert list(foresee(tier(max_replicas=1))) == [
        "minReplicas and maxReplicas are both 1: the number never changes"
    ]
    assert list(foresee(tier(behavior=Behavior(disabled, disabled)))) == [
        "scaleUp is disabled: no pod is ever added",
        "scaleDown is disabled: no pod is ever removed",
    ]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"max_replicas": 1}, "maxReplicas is 1"),
        ({"behavior": Behavior(up=ScalingRules((), "Disabled"))}, "scaleUp is disabled"),
        ({"behavior": Behavior()}, "the stabilization window of scaleDown"),
    ],
)
def test_a_run_counts_why_nothing_changed(fields: dict[str, object], reason: str) -> None:
    stays = count_stays(run(tier(**fields)))

    assert stays["one"][reason] > 5
    lines = describe_stays(stays)
    assert f"one         {stays['one'][reason]:>5}  {reason}" in lines


def test_a_reason_is_told_once_until_the_pods_change() -> None:
    told = Told()
    held = [("a", 1), ("", 1), ("a", 1), ("b", 1), ("", 2), ("a", 2), ("a", 2), ("a", 1)]

    new = [
        told.is_new(Sample(0, "one", pods, pods, pods, None, held=reason)) for reason, pods in held
    ]

    assert new == [True, False, False, True, False, True, False, True]


def test_changes_are_no_stays() -> None:
    samples = run(tier())

    assert [bool(one.held) for one in samples] == [one.desired == one.replicas for one in samples]
    assert sum(count_stays(samples)["one"].values()) == sum(bool(one.held) for one in samples)
    assert describe_stays({"one": {}}) == []
