"""Log files of services, as text for people, and bounded."""

from __future__ import annotations

import json
from pathlib import Path

from elastic_yolo.lab.processes.log_lines import LogFollower, describe_event, describe_line, notable


def append(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def event(number: int) -> str:
    return json.dumps({"event": f"number {number}", "level": "info", "service": "web"})


def names(follower: LogFollower) -> list[str]:
    return [one["event"] for one in follower.read_events()]


def test_each_complete_line_is_read_once(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    follower = LogFollower(log)
    before = names(follower)
    append(log, f"{event(1)}\n{event(2)}\n{event(3)[:9]}")
    first = names(follower)
    append(log, f"{event(3)[9:]}\n")

    assert (before, first) == ([], ["number 1", "number 2"])
    assert names(follower) == ["number 3"]
    assert names(follower) == []


def test_lines_that_are_no_events_are_skipped(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    append(log, 'Traceback (most recent call last):\n[1]\n{"a": 1}\n' + "[" * 100_000 + "\n")
    append(log, f"{event(1)}\n")

    assert names(LogFollower(log)) == ["number 1"]


def test_a_log_above_the_limit_is_emptied_and_followed_further(tmp_path: Path) -> None:
    """Its process appends: what it writes next is at the start of the file."""
    log = tmp_path / "web.log"
    follower = LogFollower(log, max_bytes=1000)
    append(log, "".join(f"{event(number)}\n" for number in range(30)))

    assert len(names(follower)) == 30
    assert log.stat().st_size == 0
    append(log, f"{event(31)}\n")
    assert names(follower) == ["number 31"]


def test_of_a_burst_the_last_megabyte_is_read(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    append(log, "".join(f"{event(number)}\n" for number in range(30_000)))

    found = names(LogFollower(log))

    assert found[-1] == "number 29999"
    assert 10_000 < len(found) < 30_000


def test_an_event_is_one_line_with_its_facts() -> None:
    text = describe_event(
        {"event": "golden picture mismatch", "level": "warning", "timestamp": "2026-01-01",
         "service": "inference", "difference": "dog\nis a cat"}
    )  # fmt: skip

    assert text == "inference: golden picture mismatch (difference=dog is a cat)"
    assert len(describe_event({"event": "x" * 1000})) == 400


def test_other_lines_stay_as_they_are() -> None:
    assert describe_line("PORT: expected a number") == "PORT: expected a number"
    assert describe_line(event(5)) == "web: number 5"


def test_warnings_and_switches_of_precision_are_for_people() -> None:
    """The fields are those that services/inference/measuring/search.py logs."""
    switch = {
        "event": "precision switched", "level": "info", "service": "inference", "model": "a",
        "before": "fp32", "precision": "int8", "before_ms": 31.0, "ms": 10.0, "loss": 0.0021,
    }  # fmt: skip

    assert notable({"event": "prediction", "level": "info", "service": "web"}, "web") is None
    assert notable({"event": "still running", "level": "warning", "service": "web"}, "web") == (
        "web: still running"
    )
    assert notable(switch, "inference-4003") == (
        "inference-4003 now runs in int8 (was fp32): 3.1 times as fast, loses 0.2 points of mAP"
    )
    assert notable(switch | {"before_ms": None, "loss": -0.01}, "inference") == (
        "inference now runs in int8 (was fp32): loses 0.0 points of mAP"
    )
    assert (
        notable(switch | {"ms": None, "loss": None}, "inference")
        == "inference now runs in int8 (was fp32)"
    )
