"""What viewers see of processes, and which changes are reported."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.core.live import EndpointAnswer, ProcessSnapshot, Tree
from services.common.observe.telemetry import SECONDS_BUCKETS
from services.common.peer.addresses import Address
from services.common.peer.exchange import Response
from services.common.peer.survey import Answer
from services.web.live.autoscalers import Scaler
from services.web.live.fleet import Change, Fleet, card_to_json
from services.web.live.poll import Poll, merge
from services.web.live.rates import quantile_ms, step_between
from services.web.live.view import View
from tests.support.live import endpoint, process

A, B = "10.0.0.1:4002", "10.0.0.2:4002"


class Watched:
    """A fleet that is looked at every half second."""

    def __init__(self) -> None:
        """Begin with preprocess alone, whose start is not reported."""
        self.fleet = Fleet()
        self.now = 1000.0
        self.caller: dict[str, Any] = {}
        assert self.see() == []

    def see(self, *found: ProcessSnapshot, **places: str | None) -> list[tuple[str, str, str]]:
        """Take a poll of inference processes; return name, kind and text of the changes.

        Each is at the address that is its own, unless `places` states who is at `a` and `b`.
        """
        self.now += 0.5
        caller = process("p", "preprocess", age_s=self.now, **self.caller)
        addresses = {"a": A, "b": B}
        at = {("inference", addresses[one.id]): one.id for one in found if one.id in addresses}
        stated = {("inference", addresses[name]): who for name, who in places.items()}
        seen = Poll({one.id: one for one in (caller, *found)}, {**at, **stated})
        return [(one.name, one.kind, one.text) for one in self.fleet.update(self.now, seen)]

    def states(self) -> dict[str, str]:
        return {one.name: one.state for one in self.fleet.cards}


def test_the_life_of_a_process_is_told_in_order() -> None:
    watched = Watched()

    told = [
        watched.see(process("a", state="starting", ready_s=None, age_s=0.2)),
        watched.see(process("a", age_s=0.7, ready_s=0.1)),
        watched.see(process("a", age_s=1.2, ready_s=0.6, statuses={"200": 3})),
        watched.see(process("a", age_s=1.7, ready_s=1.1, statuses={"200": 6})),
        watched.see(process("a", state="draining", age_s=2.2, in_flight=2)),
        watched.see(a=None),
    ]

    assert told == [
        [("inference-a", "appeared", "starts")],
        [("inference-a", "ready", "ready, 0.6 s after its start")],
        [("inference-a", "share", "took its share after 0.6 s")],
        [],
        [("inference-a", "draining", "drains: 2 requests left")],
        [("inference-a", "gone", "gone")],
    ]


def test_what_was_there_before_anybody_looked_is_no_news() -> None:
    fleet = Fleet()

    assert fleet.update(1.0, Poll({"a": process("a")})) == []
    assert [one.name for one in fleet.cards] == ["inference-a"]


def test_a_process_without_its_share_is_not_said_to_have_it() -> None:
    """One does all the work, and the new one a tenth of it."""
    watched = Watched()
    for step in range(6):
        age_s = 3.0 + step / 2
        told = watched.see(
            process("a", age_s=age_s, statuses={"200": 100 * step}),
            process("b", age_s=age_s, statuses={"200": 10 * step}),
        )
        assert ("inference-b", "share") not in [one[:2] for one in told]


def test_another_process_at_the_same_address_ends_the_first() -> None:
    watched = Watched()
    watched.see(process("a"))

    told = watched.see(process("c"), a="c")

    assert [(name, kind) for name, kind, _ in told] == [
        ("inference-a", "gone"),
        ("inference-c", "appeared"),
    ]


def test_a_closed_socket_with_requests_in_progress_is_a_drain() -> None:
    watched = Watched()
    watched.see(process("a"))
    watched.caller = {"endpoints": [endpoint(A, "ejected", outstanding=3)]}
    watched.see(process("a"))

    assert watched.see(a=None) == [("inference-a", "draining", "drains: 3 requests left")]
    watched.caller = {"endpoints": [endpoint(A, "ejected")]}
    assert watched.see(a=None) == [("inference-a", "gone", "gone")]


def test_a_late_answer_is_no_news_and_silence_is() -> None:
    """Three seconds; an address that is not known any more is forgotten sooner."""
    watched = Watched()
    watched.caller = {"endpoints": [endpoint(A)]}
    watched.see(process("a", statuses={"200": 1}))

    told = [watched.see() for _ in range(8)]

    assert [one for one in told if one] == [[("inference-a", "silent", "does not answer")]]
    assert told.index([("inference-a", "silent", "does not answer")]) == 6
    assert watched.see(process("a", age_s=9)) == [("inference-a", "back", "answers again")]


def test_a_process_that_nobody_knows_any_more_is_gone() -> None:
    watched = Watched()
    watched.see(process("a"))

    told = [watched.see() for _ in range(6)]

    assert [one for one in told if one] == [[("inference-a", "gone", "gone")]]


def test_an_ejection_and_its_end_are_told_once() -> None:
    watched = Watched()
    for step in range(3):
        watched.see(process("a", age_s=3 + step / 2, statuses={"200": step * 5}))
    told = []
    for state in ("serving", "ejected", "ejected", "serving"):
        watched.caller = {"endpoints": [endpoint(A, state)]}
        told += watched.see(process("a", age_s=watched.now - 990, statuses={"200": 15}))

    assert told == [
        ("inference-a", "ejected", "ejected by preprocess-p"),
        ("inference-a", "back", "gets requests again"),
    ]


def test_an_ejection_of_a_frozen_process_is_told_before_its_return() -> None:
    watched = Watched()
    for step in range(3):
        watched.see(process("a", age_s=3 + step / 2, statuses={"200": step * 5}))
    watched.caller = {"endpoints": [endpoint(A, "ejected")]}
    told = [one for _ in range(8) for one in watched.see()]
    told += watched.see(process("a", age_s=9, statuses={"200": 10}))
    watched.caller = {"endpoints": [endpoint(A)]}
    told += watched.see(process("a", age_s=9.5, statuses={"200": 10}))

    assert told == [
        ("inference-a", "ejected", "ejected by preprocess-p"),
        ("inference-a", "silent", "does not answer"),
        ("inference-a", "back", "answers again"),
        ("inference-a", "back", "gets requests again"),
    ]


def test_the_autoscaler_is_told_before_the_processes_that_follow_it() -> None:
    view = View(may_load=False)
    before, after = (Scaler(1, desired, None, None, "cpu") for desired in (2, 1))
    view.note(1.0, [], {"web": before})
    gone = Change(2.0, "web", "web-a", "draining", "drains")

    told = view.note(2.0, [gone], {"web": after})

    assert [one.kind for one in told] == ["scaled", "draining"]


def test_processes_of_one_host_are_named_by_their_ports() -> None:
    fleet = Fleet()
    own = [process("w", "web", host="laptop", port=5000), process("a", host="laptop", port=4002)]
    fleet.update(1.0, Poll({one.id: one for one in own}))

    assert {one.name for one in fleet.cards} == {"web:5000", "inference:4002"}


def test_a_card_has_rate_share_and_cpu_and_no_address() -> None:
    watched = Watched()
    for step in range(3):
        watched.see(
            process(
                "a",
                age_s=3 + step,
                statuses={"200": 10 * step},
                cpu_s=0.5 * step,
                in_flight=3,
                queues={"queue": (2, 59), "json_queue": (1, 16)},
            )
        )
    (card,) = [one for one in watched.fleet.cards if one.process.id == "a"]

    shown = card_to_json(card, 20.0)

    assert shown["rate"] == 10.0
    assert shown["share"] == 0.5
    assert (shown["cpu"], shown["cpu_quota"]) == (0.5, 2.0)
    assert (shown["in_flight"], shown["queue"]) == (3, 3)
    assert "10.0.0.1" not in str(shown)


def answer(ip: str, body: Tree | ProcessSnapshot | None, *, refused: bool = False) -> Answer:
    response = None if body is None else Response(200, {}, body.model_dump_json().encode())
    return Answer(Address(ip, 8000, "preprocess:8000"), response, refused)


def test_what_two_preprocess_know_is_one_process() -> None:
    inference = process("a")
    behind = [EndpointAnswer(address=A, process=inference)]
    gone = [
        EndpointAnswer(address=A, process=None),
        EndpointAnswer(address=B, process=None, refused=True),
    ]
    first, second = process("p", "preprocess"), process("q", "preprocess")

    seen = merge(
        process("w", "web"),
        [answer("10.0.1.1", process("x", "web"))],
        [
            answer("10.0.2.1", Tree(process=first, behind=behind)),
            answer("10.0.2.2", Tree(process=second, behind=gone)),
            answer("10.0.2.3", process("r", "preprocess")),
            answer("10.0.2.4", None, refused=True),
            answer("10.0.2.5", None),
        ],
    )

    assert seen.processes.keys() == {"w", "x", "p", "q", "r", "a"}
    assert seen.addresses[("inference", A)] == "a"
    assert seen.addresses[("inference", B)] is None
    assert seen.addresses[("preprocess", "10.0.2.4:8000")] is None
    assert ("preprocess", "10.0.2.5:8000") not in seen.addresses


def test_an_answer_of_another_kind_is_no_process() -> None:
    strange = Answer(Address("10.0.0.9", 80, "x"), Response(200, {}, b'{"id": 1}'))
    missing = Answer(Address("10.0.0.9", 81, "x"), Response(404, {}, b"{}"))

    assert merge(process("w", "web"), [strange], [strange, missing]).processes.keys() == {"w"}


@pytest.mark.parametrize(
    ("buckets", "part", "expected_ms"),
    [
        ([0, 0, 0, 4], 0.5, None),
        ([4, 0, 0, 0], 0.5, 50.0),
        ([2, 2, 0, 0], 0.5, 100.0),
        ([0, 4, 0, 0], 0.5, 150.0),
        ([0, 0, 10, 0], 0.95, 390.0),
    ],
)
def test_a_quantile_lies_within_its_bucket(
    buckets: list[int], part: float, expected_ms: float | None
) -> None:
    """Bounds of 0.1, 0.2 and 0.4 s; what is beyond the last counts as 0.4."""
    found = quantile_ms([0.1, 0.2, 0.4], buckets, part)

    assert found == pytest.approx(400.0 if expected_ms is None else expected_ms)


def test_without_requests_there_is_no_quantile() -> None:
    assert quantile_ms([0.1], [0, 0], 0.5) is None


@given(st.lists(st.integers(0, 1000), min_size=15, max_size=15), st.floats(0.01, 1.0))
def test_quantiles_grow_with_their_part(buckets: list[int], part: float) -> None:
    whole, some = (quantile_ms(SECONDS_BUCKETS, buckets, one) for one in (1.0, part))

    assert (whole is None) == (sum(buckets) == 0)
    if whole is not None and some is not None:
        assert 0 < some <= whole + 1e-6


def test_a_step_counts_arrivals_and_durations() -> None:
    counts = {0.1: 4, 1.0: 5}
    before = process("w", "web", age_s=1.0, in_flight=2, statuses={"200": 1, "429": 1})
    after = process(
        "w",
        "web",
        age_s=2.0,
        in_flight=5,
        statuses={"200": 5, "429": 2},
        seconds=[
            (bound, max((n for limit, n in counts.items() if bound >= limit), default=0))
            for bound in SECONDS_BUCKETS
        ],
    )

    step = step_between(before, after)

    assert step.statuses == {"200": 4, "429": 1}
    # Five are over, and three more are in flight.
    assert step.arrived == 8
    assert sum(step.buckets) == 5


def within_a_second(count: int) -> list[tuple[float, int]]:
    return [(bound, count if bound >= 1 else 0) for bound in SECONDS_BUCKETS]


def test_a_web_of_another_release_with_other_buckets_leaves_the_quantiles_of_the_rest() -> None:
    view = View(may_load=False)
    for age_s, count in ((1.0, 0), (2.0, 10)):
        known = process(
            "w", "web", age_s=age_s, statuses={"200": count}, seconds=within_a_second(count)
        )
        other = process("v", "web", age_s=age_s, statuses={"200": count}, seconds=[(9.0, count)])
        view.note(age_s, view.fleet.update(age_s, Poll({"w": known, "v": other})), {})

    totals = view.snapshot()["totals"]

    assert totals["statuses"] == {"200": 20}
    assert 0 < totals["p95_ms"] <= 1000


def test_a_change_is_plain_json() -> None:
    change = Change(1.0, "inference", "a", "gone", "gone")

    assert change.to_json() == {
        "at": 1.0, "tier": "inference", "name": "a", "kind": "gone", "text": "gone",
    }  # fmt: skip
