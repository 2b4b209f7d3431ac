"""The autoscalers on modelled pods."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.lab.autoscaler.manifest import Tier, read_tiers
from elastic_yolo.lab.autoscaler.spec import Controller, HpaSpec, Metric
from elastic_yolo.lab.load.arrivals import Arrivals, Shape
from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.lab.simulate import Totals, Work, simulate
from elastic_yolo.lab.sizing import require_tiers, with_max
from elastic_yolo.lab.timeline import Sample

BASE = require_tiers(read_tiers(ROOT / "k8s" / "base"))
WORK = {"web": 0.001, "preprocess": 0.0041, "inference": 0.0105}


def run(
    arrivals: Arrivals, limit: int | None = None, startup_s: float = 5.0
) -> tuple[list[Sample], Totals]:
    samples: list[Sample] = []
    tiers = [
        (with_max(tier, limit) if limit else tier, Work(WORK[name], startup_s))
        for name, tier in BASE.items()
    ]
    totals = simulate(tiers, arrivals, Controller(), samples.append)
    return samples, totals


def last(samples: list[Sample]) -> dict[str, int]:
    return {sample.tier: sample.desired for sample in samples[-3:]}


def test_a_constant_load_needs_as_many_pods_as_the_docs_calculate() -> None:
    """docs/sizing.md: rate x milliseconds / 1000 / CPUs of a pod / 0.7, a tenth more or less."""
    samples, totals = run(Arrivals("constant", 0, 1000, 1800), limit=100)

    expected = {name: 1000 * WORK[name] / (BASE[name].request_milli / 1000) / 0.7 for name in BASE}
    assert expected == pytest.approx({"web": 7.1, "preprocess": 11.7, "inference": 15}, abs=0.1)
    for tier, pods in last(samples).items():
        assert expected[tier] * 0.9 <= pods <= math.ceil(expected[tier] * 1.5)
        assert samples[-1].replicas == samples[-4].replicas
    assert totals.pictures == 1_800_000


def test_after_a_step_it_goes_back_to_one_of_each() -> None:
    samples, totals = run(Arrivals("step", 30, 300, 1800))

    assert last(samples) == {"web": 1, "preprocess": 1, "inference": 1}
    peaks = {one.tier: one.peak_replicas for one in totals.tiers}
    assert peaks["inference"] > peaks["web"] > 1
    # Until new pods came, one CPU was to do the work of three.
    assert totals.overloaded_s > 0
    assert totals.unserved > 0


def test_without_overload_all_pictures_are_served() -> None:
    _, totals = run(Arrivals("constant", 0, 20, 600))

    assert (totals.unserved, totals.overloaded_s, totals.longest_wait_s) == (0, 0, 0)
    assert [one.peak_replicas for one in totals.tiers] == [1, 1, 1]
    inference = totals.tiers[-1]
    assert inference.cpu_hours == pytest.approx(20 * 600 * 0.0105 / 3600, abs=0.001)
    assert inference.requested_cpu_hours == pytest.approx(600 / 3600, abs=0.001)


def test_thousands_of_pods_can_be_simulated() -> None:
    _, totals = run(Arrivals("constant", 0, 100_000, 900), limit=5000)

    assert max(one.peak_replicas for one in totals.tiers) > 1000


def test_slow_starts_reject_more_pictures() -> None:
    step = Arrivals("step", 30, 300, 1200)

    assert run(step, startup_s=60)[1].unserved > run(step, startup_s=1)[1].unserved


def test_there_is_one_sample_per_tier_and_sync() -> None:
    samples, _ = run(Arrivals("wave", 10, 100, 100))

    assert [sample.at for sample in samples] == [at for at in range(15, 100, 15) for _ in range(3)]
    assert [sample.tier for sample in samples[:3]] == ["web", "preprocess", "inference"]
    assert {sample.target_percent for sample in samples} == {70}
    assert all(sample.cpu_s is not None for sample in samples)


def test_an_absolute_target_is_also_shown_in_per_cent() -> None:
    tier = Tier("one", HpaSpec("one", 5, (Metric(average_milli=350),)), 500, None)
    samples: list[Sample] = []

    simulate(
        [(tier, Work(0.01, 5))], Arrivals("constant", 0, 20, 100), Controller(), samples.append
    )

    assert (samples[-1].target_percent, samples[-1].cpu_percent) == (70, 40)
    assert samples[-1].why.startswith("stays at 1: cpu 200m < 350m per pod")


@given(
    st.sampled_from(["step", "ramp", "spike", "wave", "constant"]),
    st.floats(0, 100),
    st.floats(0, 1000),
    st.floats(1, 10_000),
    st.floats(-10, 20_000),
)
def test_a_rate_stays_within_its_bounds(
    shape: Shape, low: float, more: float, duration_s: float, at_s: float
) -> None:
    rate = Arrivals(shape, low, low + more, duration_s).rate(at_s)

    if 0 <= at_s < duration_s:
        assert low - 1e-6 <= rate <= low + more + 1e-6
    else:
        assert rate == 0


@pytest.mark.parametrize(
    ("shape", "rates"),
    [
        ("step", [10, 100, 100, 10, 10, 10]),
        ("spike", [10, 100, 10, 10, 10, 10]),
        ("constant", [100] * 6),
        ("ramp", [10, 40, 70, 100, 40, 10]),
        ("wave", [10, 100, 10, 100, 10, 100]),
        ("none", [0] * 6),
    ],
)
def test_every_shape_has_its_rates(shape: Shape, rates: list[float]) -> None:
    arrivals = Arrivals(shape, 10, 100, 600)

    assert [arrivals.rate(at) for at in range(0, 600, 100)] == pytest.approx(rates)


def test_a_container_resource_scales_as_a_resource_of_the_same_request() -> None:
    inference = BASE["inference"]
    metric = Metric("cpu", "ContainerResource", utilization=70, container="inference")
    changed = replace(inference, hpa=replace(inference.hpa, metrics=(metric,)))
    runs: list[list[Sample]] = []
    for tier in (inference, changed):
        samples: list[Sample] = []
        work, arrivals = Work(0.0105, 5), Arrivals("step", 30, 300, 1200)
        simulate([(tier, work)], arrivals, Controller(), samples.append)
        runs.append(samples)

    assert runs[0] == runs[1]
    assert max(sample.desired for sample in runs[1]) == 5
    assert {sample.target_percent for sample in runs[1]} == {70}


def test_a_container_resource_is_a_percentage_of_its_containers_request() -> None:
    """200m of usage: 40 % of the container's 500m, 20 % of the pod's 1000m."""
    metric = Metric("cpu", "ContainerResource", utilization=70, container="one")
    requests = {"cpu": 1000, "cpu/one": 500, "cpu/logs": 500}
    tier = Tier("one", HpaSpec("one", 5, (metric,)), 1000, None, container="one", requests=requests)
    samples: list[Sample] = []

    simulate(
        [(tier, Work(0.01, 5))], Arrivals("constant", 0, 20, 100), Controller(), samples.append
    )

    assert (samples[-1].target_percent, samples[-1].cpu_percent) == (70, 40)
    assert samples[-1].why.startswith("stays at 1: 40 % < 70 %")


def test_a_tier_may_start_with_more_than_one() -> None:
    three = replace(BASE["web"], hpa=replace(BASE["web"].hpa, min_replicas=3))
    samples: list[Sample] = []

    simulate(
        [(three, Work(0.001, 5))], Arrivals("constant", 0, 1, 60), Controller(), samples.append
    )

    assert {sample.replicas for sample in samples} == {3}
