"""The figures of a report."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.answers import OUTCOMES, Answer, AnswerLog, AnswerReader
from loadtest.figures import split, summarise

START = 1_764_190_000.0
STATUS = {"served": 200, "rejected": 429, "failed": 503}


def answer(came_s: float, *, took_ms: float = 100, outcome: str = "served") -> Answer:
    (known,) = (one for one in OUTCOMES if one == outcome)
    return Answer(START + came_s - took_ms / 1000, took_ms, STATUS[outcome], known, "scene")


answers = st.builds(
    answer,
    st.floats(0, 400),
    took_ms=st.floats(0.1, 5000),
    outcome=st.sampled_from(OUTCOMES),
)


@given(st.lists(answers), st.floats(5, 300))
def test_intervals_add_up_to_the_whole_run(sent: list[Answer], duration_s: float) -> None:
    """Also with responses before the recorded start of the run, or after its end."""
    whole = summarise(sent, duration_s)

    parts = split(sent, [], start_at=START, duration_s=duration_s, per_user_s=1)

    assert sum(part.served for part in parts) == whole.served
    assert sum(part.rejected for part in parts) == whole.rejected
    assert sum(part.failed for part in parts) == whole.failed
    assert whole.sent == len(sent) == sum(sum(part.statuses.values()) for part in parts)
    assert math.isclose(sum(part.seconds for part in parts), duration_s)
    assert len(parts) <= 60


def test_a_response_counts_in_the_second_in_which_it_came() -> None:
    late = answer(1.05, took_ms=1000)

    parts = split([late], [], start_at=START, duration_s=5, per_user_s=1)

    assert [part.served for part in parts] == [0, 1, 0, 0, 0]


def test_the_offered_rate_is_the_mean_of_the_users() -> None:
    users = [(START + 0.5, 4), (START + 2, 8), (START + 3, 10), (START + 100, 0)]

    parts = split([], users, start_at=START, duration_s=120, per_user_s=2)

    assert [part.per_s(part.offered) for part in parts[:3]] == [6, 18, 20]
    assert [part.per_s(part.offered) for part in parts[48:52]] == [20, 20, 0, 0]


def test_without_users_nothing_is_offered() -> None:
    parts = split([], [], start_at=START, duration_s=5, per_user_s=1)

    assert [part.offered for part in parts] == [0] * 5


def test_only_served_pictures_have_a_latency() -> None:
    """Rejections are fast, and would hide an overload."""
    sent = [answer(1, took_ms=500), answer(1, took_ms=2, outcome="rejected")]

    whole = summarise([*sent, answer(1, took_ms=9000, outcome="failed")], 10)

    assert set(whole.latency_ms.values()) == {500}
    assert (whole.rejected_percent, whole.failed_percent) == (100 / 3, 100 / 3)
    assert whole.served_per_s == pytest.approx(0.1)


@given(st.lists(answers, max_size=20))
def test_a_log_that_grows_is_read_line_by_line(
    tmp_path_factory: pytest.TempPathFactory, sent: list[Answer]
) -> None:
    path = tmp_path_factory.mktemp("answers") / "answers.csv"
    reader = AnswerReader(path)
    read = reader.new()
    log = AnswerLog(path)
    log.begin(START)

    for one in sent:
        log.write(one)
        log.count_users(START, len(read))
        read += reader.new()
    before = reader.cpu_s
    log.end(1.25)
    read += reader.new()
    reader.close()
    log.close()

    assert before is None
    assert reader.cpu_s == 1.25
    assert reader.started_at == START
    assert reader.users == [(START, number) for number in range(len(sent))]
    assert [(one.status, one.outcome, one.picture) for one in read] == [
        (one.status, one.outcome, one.picture) for one in sent
    ]
    assert all(abs(a.took_ms - b.took_ms) < 0.01 for a, b in zip(read, sent, strict=True))


def test_an_incomplete_line_is_read_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    reader = AnswerReader(path)
    with path.open("w", buffering=1) as file:
        file.write("1764190000.000,12.50,200,serve")
        file.flush()
        before = reader.new()
        file.write("d,scene\n")
        file.flush()

        assert before == []
        assert reader.new() == [Answer(START, 12.5, 200, "served", "scene")]
    reader.close()
