"""Tests of events: what changed in front of a camera."""

from __future__ import annotations

import itertools
import random

import pytest

from elastic_yolo.stream.message import Result
from elastic_yolo.stream.sinks.events import Event, Events, Outbox
from tests.stream.seen import seen


def observe(results: list[Result], debounce_s: float = 1) -> list[Event]:
    events = Events(debounce_s)
    return [event for result in results for event in events.observe(result)]


def told(events: list[Event]) -> list[tuple[str, str, int, int, float]]:
    return [(one.event, one.label, one.was, one.count, one.at) for one in events]


def test_an_object_entered_when_it_stayed_and_left_when_it_stayed_away() -> None:
    times = [0, 0.4, 0.8, 1.2, 1.6, 2, 2.4, 2.8, 3.2, 3.6, 4]
    results = [seen(at, "person" if 0.4 <= at < 2.4 else "") for at in times]
    entered, left = observe(results)
    assert told([entered, left]) == [
        ("entered", "person", 0, 1, 0.4),
        ("left", "person", 1, 0, 2.4),
    ]
    # The first result at which the change has held for a second.
    assert entered.result == results[times.index(1.6)].id
    assert left.result == results[times.index(3.6)].id


def test_a_flicker_shorter_than_the_debounce_is_no_event() -> None:
    flicker = [seen(at / 10, "person" if at in {3, 4, 5, 14, 23} else "") for at in range(40)]
    assert observe(flicker) == []
    gap = [seen(at / 10, "" if at in {20, 21, 30} else "person") for at in range(50)]
    assert told(observe(gap)) == [("entered", "person", 0, 1, 0)]


def test_a_count_that_flickers_above_the_confirmed_one_is_at_least_one_more() -> None:
    results = [seen(at / 10, "person" if at % 2 else "person person") for at in range(30)]
    assert told(observe(results)) == [("entered", "person", 0, 1, 0)]


def test_two_that_come_one_after_the_other_are_two_events() -> None:
    results = [seen(at / 10, "person" if at < 5 else "person person") for at in range(30)]
    assert told(observe(results)) == [
        ("entered", "person", 0, 1, 0),
        ("entered", "person", 1, 2, 0.5),
    ]


def test_two_that_come_together_are_one_event() -> None:
    results = [seen(at / 10, "person person") for at in range(30)]
    assert told(observe(results)) == [("entered", "person", 0, 2, 0)]


def test_labels_and_cameras_are_counted_for_themselves() -> None:
    results = [
        seen(at, labels, source=source, camera=camera)
        for at in range(3)
        for source, camera, labels in (
            ("yard", "", "person dog"),
            ("street", "", "person"),
            ("pictures", "gate", "car"),
            ("pictures", "roof", ""),
        )
    ]
    found = [(one.source, one.label, one.count) for one in observe(results)]
    assert sorted(found) == [
        ("gate", "car", 1),
        ("street", "person", 1),
        ("yard", "dog", 1),
        ("yard", "person", 1),
    ]


def test_results_that_come_late_or_twice_are_ignored() -> None:
    results = [seen(at / 10, "person" if at > 10 else "") for at in range(40)]
    expected = observe(results)
    late = [*results[:20], *results[5:15], *results[20:], *results]
    assert len(expected) == 1
    assert observe(late) == expected


def test_without_debounce_each_change_is_an_event() -> None:
    results = [seen(at, "person" if at % 2 else "") for at in range(5)]
    assert [one.event for one in observe(results, 0)] == ["entered", "left", "entered", "left"]


def test_the_same_results_give_the_same_ids_and_others_give_others() -> None:
    chance = random.Random(7)  # noqa: S311
    results = [seen(at / 4, "person " * chance.randrange(3)) for at in range(400)]
    first, second = observe(results, 0.5), observe(results, 0.5)
    assert first == second
    assert len(first) > 20
    assert len({event.id for event in first}) == len(first)


def test_counts_follow_from_the_events_before() -> None:
    chance = random.Random(8)  # noqa: S311
    results = [seen(at / 4, "person " * chance.randrange(4)) for at in range(400)]
    found = observe(results, 0.25)
    assert found[0].was == 0
    for before, after in itertools.pairwise(found):
        assert after.was == before.count
    assert all((event.event == "entered") == (event.count > event.was) for event in found)


def test_of_more_cameras_than_any_site_has_the_longest_unseen_are_forgotten() -> None:
    events = Events(1)
    for number in range(10_001):
        events.observe(seen(1, "person", camera=f"camera {number}"))
    assert events.observe(seen(2, "person", camera="camera 0")) == []
    assert len(events.observe(seen(2, "person", camera="camera 10000"))) == 1


@pytest.mark.parametrize("send", [None, "events", "results"])
def test_what_could_not_be_sent_stays_and_is_not_added_again(send: str | None) -> None:
    outbox = Outbox(send, 1)
    results = [seen(at / 2, "person") for at in range(4)]
    first = outbox.add(results)
    assert len(first) == (4 if send == "results" else 1)
    assert outbox.add(results) == first
    outbox.remove(len(first))
    assert outbox.add([]) == []
