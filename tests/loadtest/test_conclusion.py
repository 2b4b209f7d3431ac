"""What a run shows, in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.answers import OUTCOMES, Answer
from loadtest.conclusion import conclude, name_failure
from loadtest.figures import split, summarise
from loadtest.plan import Plan
from loadtest.result import Result
from loadtest.slo import judge, parse_objectives
from loadtest.target import Target
from loadtest.terminal import to_lines

START = 1_764_190_000.0
STATUS = {"served": 200, "rejected": 429, "failed": 503}


def answers(outcome: str, count: int, took_ms: float = 100) -> list[Answer]:
    (known,) = (one for one in OUTCOMES if one == outcome)
    return [
        Answer(START + number / count, took_ms, STATUS[outcome], known, "scene")
        for number in range(count)
    ]


def result(
    *parts: list[Answer], users: int, slo: str = "", duration_s: float = 10, complete: bool = True
) -> Result:
    """Return a run of ten seconds, in which each user offers a picture per second."""
    sent = [answer for part in parts for answer in part]
    objectives = parse_objectives(slo) if slo else ()
    summary = summarise(sent, duration_s)
    plan = Plan("step", "http://web", users, 10, Path("out"), Path("in"), 0, objectives, "run")
    intervals = split(
        sent,
        [(START, users), (START + 10, 0)],
        start_at=START,
        duration_s=duration_s,
        per_user_s=1,
    )
    return Result(
        plan=plan,
        target=Target("demo", "1", "sha256:0", 20),
        start_at=START,
        complete=complete,
        answers=sent,
        intervals=intervals,
        summary=summary,
        verdicts=judge(objectives, summary),
        source=None,
        samples=[],
        notes=[],
    )


@pytest.mark.parametrize(
    ("run", "state", "title"),
    [
        (
            result(answers("served", 100), users=10, slo="p95=1s,errors=0%"),
            "good",
            "The service met all 2 objectives",
        ),
        (
            result(answers("served", 100), users=10),
            "good",
            "The service kept up with the offered load",
        ),
        (
            result(answers("served", 50), answers("rejected", 50), users=10),
            "bad",
            "The service did not keep up with the offered load",
        ),
        (
            result(answers("served", 50), answers("rejected", 50), users=10, slo="errors=0%"),
            "part",
            "The service met its objective, but served less than was offered",
        ),
        (
            result(answers("served", 50), answers("failed", 50), users=10, slo="p95=1ms,errors=0%"),
            "bad",
            "The service missed objectives: p95 and errors",
        ),
        (result(answers("failed", 100), users=10), "bad", "No picture was served"),
        (
            result(answers("served", 100), users=10, complete=False),
            "part",
            "The run was stopped, so it proves nothing about its end",
        ),
    ],
)
def test_the_title_is_the_verdict(run: Result, state: str, title: str) -> None:
    found = conclude(run)

    assert (found.state, found.title) == (state, title)


def test_the_sentence_has_what_was_offered_and_served() -> None:
    run = result(answers("served", 60, 200), answers("rejected", 40), users=10)

    assert conclude(run).sentence == (
        "Up to 10 pictures per second were offered, 100 in all; 60 (60 %) were served, "
        "6.0 per second over 10 s. Of these, 95 % took at most 200 ms and 99 % at most 200 ms."
    )


def test_a_rate_that_is_the_offered_one_needs_no_reasons() -> None:
    assert list(conclude(result(answers("served", 100), users=10)).reasons) == []


def test_pictures_that_were_sent_were_offered() -> None:
    """Users who start within a second may send one more than their seconds."""
    found = conclude(result(answers("served", 105), users=10))

    assert "offered, 105 in all; 105 (100 %) were served" in found.sentence


def test_users_who_wait_send_fewer_pictures() -> None:
    """Ten users with responses after 2.5 s send 40 of 100 pictures."""
    found = conclude(result(answers("served", 40, 2500), users=10))

    served, waiting = found.parts
    assert (served.name, served.pictures) == ("served", 40)
    assert (waiting.name, waiting.pictures) == ("waiting", pytest.approx(60))
    assert found.reasons[0].startswith("60 (60 %) not sent, because their users still waited")
    assert "Of the responses, 100 % took longer than a second." in found.reasons[0]


def test_pictures_that_no_wait_explains_are_the_generators() -> None:
    run = replace(result(answers("served", 90), users=10), generator_cpu=0.41)

    reasons = conclude(run).reasons

    assert reasons[0].startswith("10 (10 %) not sent by the load generator")
    assert reasons[-1] == (
        "The load generator was not the limit: it used 41 % of one CPU on average."
    )


def test_a_busy_generator_is_named_as_a_possible_limit() -> None:
    run = replace(
        result(answers("served", 90), users=10), generator_cpu=0.97, generator_was_busy=True
    )

    assert "may have been the limit: it used 97 % of one CPU" in conclude(run).reasons[-1]


def test_failures_are_named_by_their_cause() -> None:
    no_response = replace(answers("failed", 1)[0], status=0)
    malformed = replace(answers("failed", 1)[0], status=200)
    run = result(
        answers("served", 90), answers("failed", 8), [no_response, malformed], users=10
    )  # fmt: skip

    assert conclude(run).reasons[0] == (
        "10 (10 %) failed: no response (1), 503 Service Unavailable (8), "
        "200 without detections (1)."
    )


def test_responses_after_the_end_of_the_load_are_explained() -> None:
    run = result(answers("served", 50), answers("rejected", 50), users=10, duration_s=13)

    assert any("came 3 s after the end of the load" in one for one in conclude(run).reasons)


@given(
    st.lists(st.tuples(st.sampled_from(OUTCOMES), st.integers(1, 40), st.floats(1, 9000))),
    st.integers(1, 50),
)
def test_the_parts_add_up_to_what_was_offered(
    groups: list[tuple[str, int, float]], users: int
) -> None:
    run = result(*(answers(*group) for group in groups), users=users)

    found = conclude(run)

    whole = sum(part.pictures for part in found.parts)
    # A part of less than half a picture is not shown.
    assert whole == pytest.approx(found.offered, abs=1)
    assert all(part.pictures >= 0 for part in found.parts)


def test_the_terminal_has_the_verdict_first_and_the_reasons() -> None:
    lines = to_lines(result(answers("served", 60), answers("rejected", 40), users=10))

    assert lines[0] == "The service did not keep up with the offered load"
    assert "of 100 pictures that were offered:" in lines
    assert any(line.startswith("  40 (40 %) rejected with 429") for line in lines)


@pytest.mark.parametrize(
    ("status", "name"), [(0, "no response"), (504, "504 Gateway Timeout"), (299, "299")]
)
def test_a_status_has_a_name(status: int, name: str) -> None:
    assert name_failure(status) == name
