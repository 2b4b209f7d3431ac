"""Objectives: their syntax, and their verdicts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.figures import Summary
from loadtest.slo import Objective, SloError, judge, parse_objectives

LATENCIES = {"p50": 40.0, "p95": 200.0, "p99": 350.0, "max": 900.0}


def summary(
    *,
    served: int = 980,
    rejected: int = 15,
    failed: int = 5,
    latency_ms: dict[str, float] = LATENCIES,
) -> Summary:
    sent = served + rejected + failed
    return Summary(100, sent, served, rejected, failed, {}, latency_ms if served else {})


def verdicts(text: str, measured: Summary) -> dict[str, bool]:
    return {one.objective.name: one.met for one in judge(parse_objectives(text), measured)}


def test_every_kind_of_objective_is_parsed() -> None:
    read = parse_objectives("p50=100ms,p95=0.8s,p99=1.5s,max=3s,errors=0.1%,rejected=2%,rate=20/s")

    assert read == (
        Objective("p50", 100, "ms"),
        Objective("p95", 800, "ms"),
        Objective("p99", 1500, "ms"),
        Objective("max", 3000, "ms"),
        Objective("errors", 0.1, "%"),
        Objective("rejected", 2, "%"),
        Objective("rate", 20, "/s"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'': expected NAME=LIMIT with a NAME of p50, p95, p99, max, errors, rejected, rate"),
        ("p90=1s", "'p90=1s': expected NAME=LIMIT"),
        ("p95", "'p95': expected NAME=LIMIT"),
        ("p95=800", "'p95=800': p95 takes a time such as 800ms or 1.5s"),
        ("p95=-1ms", "p95 takes a time"),
        ("p95=1e3ms", "p95 takes a time"),
        ("p95= 800ms", "p95 takes a time"),
        ("p95=0ms", "above 0"),
        ("p95=800ms,", "'': expected NAME=LIMIT"),
        ("p95=800ms,p95=1s", "p95 is given twice"),
        ("errors=1", "errors takes a share such as 0.1%"),
        ("errors=101%", "a share is at most 100%"),
        ("rejected=1/s", "rejected takes a share"),
        ("rate=20", "rate takes pictures per second such as 20/s"),
        ("rate=0/s", "above 0"),
        ("p95=" + "9" * 400 + "s", "above 0"),
    ],
)
def test_an_invalid_objective_is_explained(text: str, message: str) -> None:
    with pytest.raises(SloError) as raised:
        parse_objectives(text)

    assert message in str(raised.value)


@given(st.text(alphabet="p95maxerorsjctd=,.0123456789%/ ", max_size=30))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        read = parse_objectives(text)
    except SloError:
        return

    assert all(objective.limit >= 0 for objective in read)


def test_a_limit_that_is_just_reached_is_met() -> None:
    text = "p50=40ms,p95=200ms,p99=350ms,max=900ms,errors=0.5%,rejected=1.5%,rate=9.8/s"

    assert all(verdicts(text, summary()).values())


@pytest.mark.parametrize(
    "text",
    ["p50=39ms", "p95=199ms", "p99=349ms", "max=0.8s", "errors=0.4%", "rejected=1%", "rate=9.9/s"],
)
def test_a_limit_that_is_missed_is_not_met(text: str) -> None:
    assert not any(verdicts(text, summary()).values())


def test_rejected_pictures_are_not_errors() -> None:
    measured = summary(served=1, rejected=99, failed=0)

    assert verdicts("errors=0%,rejected=98%", measured) == {"errors": True, "rejected": False}


def test_without_a_served_picture_no_latency_is_met() -> None:
    (verdict,) = judge(parse_objectives("p95=10s"), summary(served=0, failed=10))

    assert not verdict.met
    assert str(verdict) == "NOT MET: p95 at most 10000 ms, no picture was served"


def test_without_any_picture_nothing_is_met() -> None:
    nothing = summary(served=0, rejected=0, failed=0)

    assert not any(verdicts("errors=100%,rejected=100%,rate=1/s,max=1s", nothing).values())


def test_a_verdict_has_limit_and_measured_value_with_units() -> None:
    said = [str(one) for one in judge(parse_objectives("p95=0.1s,errors=1%,rate=5/s"), summary())]

    assert said == [
        "NOT MET: p95 at most 100 ms, measured 200 ms",
        "met: errors at most 1.00 %, measured 0.50 %",
        "met: rate at least 5.0/s, measured 9.8/s",
    ]
