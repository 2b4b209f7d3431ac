"""The autoscalers on modelled pods."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.lab.autoscaler.keda import Reads
from elastic_yolo.lab.autoscaler.manifest import Tier, read_tiers
from elastic_yolo.lab.autoscaler.series import Series
from elastic_yolo.lab.autoscaler.spec import Controller, HpaSpec, Metric
from elastic_yolo.lab.load.arrivals import Arrivals, Shape
from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.lab.simulate import Totals, Work, simulate
from elastic_yolo.lab.sizing import require_tiers, with_max
from elastic_yolo.lab.timeline import Sample

BASE = require_tiers(read_tiers(ROOT / "k8s" / "base"))
COMPONENTS = ROOT / "k8s" / "components"
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
    st.sampled_from(["step", "ramp", "spike", "wave", "constant", "night"]),
    st.floats(0, 100),
    st.floats(0, 1000),
    st.floats(1, 10_000),
    st.floats(-10, 20_000),
)
def test_a_rate_stays_within_its_bounds(
    shape: Shape, low: float, more: float, duration_s: float, at_s: float
) -> None:
    rate = Arrivals(shape, low, low + more, duration_s).rate(at_s)

    if 0 <= at_s < duration_s and shape != "night":
        assert low - 1e-6 <= rate <= low + more + 1e-6
    elif shape != "night":
        assert rate == 0
    else:
        assert rate in (0, low + more)


@pytest.mark.parametrize(
    ("shape", "rates"),
    [
        ("step", [10, 100, 100, 10, 10, 10]),
        ("spike", [10, 100, 10, 10, 10, 10]),
        ("constant", [100] * 6),
        ("ramp", [10, 40, 70, 100, 40, 10]),
        ("wave", [10, 100, 10, 100, 10, 100]),
        ("night", [0, 100, 0, 0, 0, 0]),
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


@dataclass(frozen=True)
class Step:
    """6 pictures per second, from some moment on 18."""

    at_s: float
    duration_s: float = 240

    def rate(self, at_s: float) -> float:
        return 6.0 if at_s < self.at_s else 18.0


def seconds_until_a_second_pod(place: Path, at_s: float) -> float:
    """Inference of yolov3-tiny on 0.4 CPUs, as in test_real_curve.py."""
    tier = read_tiers(place)["inference"]
    requests = dict.fromkeys(tier.requests, 400)
    small = replace(tier, request_milli=400, limit_milli=400, requests=requests)
    samples: list[Sample] = []
    simulate([(small, Work(0.05, 3))], Step(at_s), Controller(), samples.append)
    return next(one.at for one in samples if one.desired > one.replicas) - at_s


def test_keda_decides_within_a_sync_of_the_step_and_cpu_metrics_need_two() -> None:
    """Over all phases between the step and the syncs of the autoscaler."""
    steps = range(90, 105)
    cpu = [seconds_until_a_second_pod(ROOT / "k8s" / "base", at_s) for at_s in steps]
    keda = [seconds_until_a_second_pod(COMPONENTS / "keda", at_s) for at_s in steps]

    assert (min(keda), max(keda)) == (1, 15)
    assert sum(keda) / len(keda) == 8
    assert (min(cpu), max(cpu), sum(cpu) / len(cpu)) == (18, 32, 25)


@pytest.mark.parametrize("component", ["keda", "scale-to-zero"])
def test_a_component_replaces_autoscalers_of_the_base(component: str) -> None:
    tiers = read_tiers(COMPONENTS / component)

    assert tiers.keys() == BASE.keys()
    assert tiers["web"] == BASE["web"]
    inference = tiers["inference"]
    assert inference.keda is not None
    assert inference.keda.reads == Reads(
        "web", Series("elastic_yolo_queue_waiting", {"queue": "admission"})
    )
    assert inference.request_milli == BASE["inference"].request_milli
    # Up and down as fast as with CPU.
    assert inference.hpa.behavior == BASE["inference"].hpa.behavior
    assert inference.hpa.max_replicas == BASE["inference"].hpa.max_replicas


def test_from_zero_the_first_picture_waits_for_the_poll_and_the_start() -> None:
    samples: list[Sample] = []
    tiers = require_tiers(read_tiers(COMPONENTS / "scale-to-zero"))
    totals = simulate(
        [(tier, Work(WORK[name], 3.0)) for name, tier in tiers.items()],
        Arrivals("night", 0, 20, 1800),
        Controller(),
        samples.append,
    )

    behind = [one for one in samples if one.tier != "web"]
    assert {one.replicas for one in behind if one.at < 150} == {0}
    first = [one for one in behind if one.desired == 1][:2]
    assert {one.at for one in first} <= {151, 152}
    assert {one.why.split(": ", 1)[1] for one in first} <= {
        f"KEDA activates it: {number} in flight > 0" for number in range(1, 42)
    }
    assert totals.unserved == 0
    assert totals.longest_wait_s <= 5
    # 600 s after the last picture.
    last = [one for one in behind if one.replicas and not one.desired]
    assert [one.tier for one in last] == ["preprocess", "inference"]
    assert all(1050 <= one.at <= 1056 for one in last)
