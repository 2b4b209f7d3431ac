"""The consumers of a stream on modelled pods."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.lab.autoscaler.keda import KedaSpec
from elastic_yolo.lab.autoscaler.spec import Controller
from elastic_yolo.lab.autoscaler.stream import STREAM_MANIFESTS, StreamTier, read_stream
from elastic_yolo.lab.load.arrivals import Arrivals
from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.lab.simulate import Work
from elastic_yolo.lab.simulate_stream import StreamTotals, simulate_stream
from elastic_yolo.lab.sizing import with_max
from elastic_yolo.lab.timeline import Sample, read_timeline
from tests.support.command import run

OURS = read_stream(STREAM_MANIFESTS)
WORK = Work(0.01, 5)
"""A hundred pictures per second and pod."""
HPA = ROOT / "k8s" / "components" / "stream" / "without-keda" / "hpa.yaml"


def simulated(
    arrivals: Arrivals, stream: StreamTier = OURS, work: Work = WORK
) -> tuple[list[Sample], StreamTotals]:
    samples: list[Sample] = []
    totals = simulate_stream(stream, work, arrivals, Controller(), samples.append)
    return samples, totals


def test_a_lag_adds_pods_until_it_is_gone() -> None:
    samples, totals = simulated(Arrivals("step", 50, 450, 1800))

    assert samples[0].why.endswith("s0-redis-streams-pictures 0 < 100 per pod, wants 0, "
                                   "120 s window holds 1")  # fmt: skip
    (first,) = [one.why for one in samples if one.desired != one.replicas][:1]
    assert re.fullmatch(
        r"1 -> 3: s0-redis-streams-pictures \d+ > 100 per pod, wants \d+, scaleUp allows 3", first
    )
    assert totals.tiers[0].peak_replicas >= 5
    assert totals.unanswered == 0
    assert totals.largest_lag > 350 * 15
    assert samples[-1].desired == 1


def test_pods_that_keep_up_have_no_lag_so_some_are_removed_and_come_back() -> None:
    """A lag says nothing of the load: with three pods needed, their number goes up and down."""
    samples, totals = simulated(Arrivals("constant", 0, 290, 3600))

    later = [one.desired for one in samples if one.at > 600]
    assert min(later) < 2.9 < max(later)
    assert totals.tiers[0].changes > 10


def test_without_overload_nothing_waits() -> None:
    samples, totals = simulated(Arrivals("constant", 0, 60, 600))

    assert (totals.largest_lag, totals.longest_wait_s, totals.unanswered) == (0, 0, 0)
    assert {one.desired for one in samples} == {1}


def test_the_hpa_alone_decides_as_with_keda() -> None:
    course = Arrivals("wave", 50, 450, 1800)
    ours, kedas = (simulated(course, stream)[0] for stream in (read_stream(HPA), OURS))

    assert [one.desired for one in ours] == [one.desired for one in kedas]
    assert ours[10].why == kedas[10].why.replace(
        "s0-redis-streams-pictures", "elastic_yolo_stream_lag"
    )


def test_a_stream_keeps_what_pods_at_their_maximum_cannot_take() -> None:
    two = replace(OURS, tier=with_max(OURS.tier, 2))

    _, totals = simulated(Arrivals("constant", 0, 300, 600), two)

    # At the end the first of 180,000 pictures less 2 x 100 a second.
    assert totals.unanswered == pytest.approx(60_000, rel=0.05)
    assert totals.largest_lag == totals.unanswered
    assert totals.longest_wait_s == pytest.approx(200, rel=0.05)


ON_DEMAND = replace(OURS, keda=KedaSpec(0, None, 5, 120, 0))


def test_keda_removes_the_last_pod_and_starts_the_first() -> None:
    """A spike from 5:00 to 8:00 of half an hour; without pictures before and after."""
    samples, totals = simulated(Arrivals("spike", 0, 250, 1800), ON_DEMAND)

    changes = [one.why for one in samples if one.desired != one.replicas]
    assert changes[0] == "1 -> 0: KEDA deactivates it: it never was active"
    assert re.fullmatch(r"0 -> 1: KEDA activates it: \d+ waiting > 0", changes[1])
    assert changes[-1] == "1 -> 0: KEDA deactivates it: 120 s without activity"
    assert samples[-1].held == "disabled at 0 replicas"
    assert totals.unanswered == 0
    assert totals.tiers[0].last_replicas == 0


def test_until_the_first_pod_is_ready_pictures_wait() -> None:
    slow = replace(WORK, startup_s=60.0)

    _, totals = simulated(Arrivals("spike", 0, 50, 1800), ON_DEMAND, slow)

    assert 60 <= totals.longest_wait_s <= 70


def test_an_hpa_with_a_minimum_of_zero_needs_no_keda() -> None:
    stream = read_stream(HPA)
    zero = replace(stream, tier=replace(stream.tier, hpa=replace(stream.tier.hpa, min_replicas=0)))

    samples, totals = simulated(Arrivals("spike", 0, 250, 1800), zero)

    changes = [one.why for one in samples if one.desired != one.replicas]
    assert changes[0].startswith("1 -> 0: elastic_yolo_stream_lag 0 < 100 per pod")
    assert changes[1].startswith("0 -> 2: elastic_yolo_stream_lag ")
    assert (totals.unanswered, totals.tiers[0].last_replicas) == (0, 0)


@given(
    st.sampled_from(["step", "ramp", "spike", "wave", "constant"]),
    st.integers(0, 100),
    st.integers(0, 2000),
    st.sampled_from([OURS, ON_DEMAND]),
)
def test_no_picture_is_lost(shape: str, low: int, more: int, stream: StreamTier) -> None:
    samples, totals = simulated(Arrivals(shape, low, low + more, 300), stream)  # type: ignore[arg-type]

    answered = totals.tiers[0].cpu_hours * 3600 / WORK.picture_cpu_s
    # Pods that start use CPU as well.
    assert answered >= (totals.pictures - totals.unanswered) * 0.98 - 400
    assert 0 <= totals.unanswered <= totals.largest_lag
    least = 0 if stream is ON_DEMAND else 1
    assert all(least <= one.desired <= 10 for one in samples)


def test_the_command_prints_decisions_and_totals() -> None:
    status, out, err = run("hpa-lab", "--simulate", "--stream", "--rate", "200")

    assert (status, err) == (0, "")
    assert re.search(
        r"^ +\d+:\d\d  stream +1/1  1 -> 3: s0-redis-streams-pictures \d+ > 100 per pod",
        out,
        re.MULTILINE,
    )
    assert re.search(r"^stream +\d+  the stabilization window of scaleDown$", out, re.MULTILINE)
    assert "pictures in 30:00, 0 left\nlargest lag " in out


def test_the_command_writes_totals_and_timeline(tmp_path: Path) -> None:
    timeline = tmp_path / "timeline.jsonl"

    status, out, err = run(
        *("hpa-lab", "--simulate", "--stream", "--json", "--timeline", timeline),
        *("--hpa", HPA, "--cost-ms", "20", "--max-replicas", "4", "--duration", "600"),
    )

    assert (status, err) == (0, "")
    totals = json.loads(out)
    assert totals["tiers"][0]["peak_replicas"] == 4
    assert totals.keys() == {
        *("tiers", "pictures", "unanswered", "largest_lag", "longest_wait_s", "stays"),
    }
    samples = read_timeline(timeline)
    assert len(samples) == 39
    assert {one.tier for one in samples} == {"stream"}


def test_a_folder_without_a_consumer_is_one_line(tmp_path: Path) -> None:
    status, out, err = run("hpa-lab", "--simulate", "--stream", "--hpa", tmp_path)

    assert (status, out) == (1, "")
    assert err == (
        f"elastic-yolo: {tmp_path}: no ScaledObject or HorizontalPodAutoscaler, expected one of a "
        "stream's consumer\n"
    )
