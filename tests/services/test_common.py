"""Small parts that all services share: errors, ids, deadlines, timings, quota."""

from __future__ import annotations

import itertools
import re
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.picture import errors as picture_errors
from elastic_yolo.picture.agreement import first_difference
from services.common.core.problems import STATUS, problem_response
from services.common.observe.cpu_quota import cpu_quota, thread_count
from services.common.request import errors
from services.common.request.context import Deadline, RequestContext, Timings, accept_request_id
from services.common.request.host import host_name


def leaves(kind: type[Exception]) -> set[type[Exception]]:
    below = kind.__subclasses__()
    return {kind} if not below else set().union(*(leaves(child) for child in below))


def test_every_error_has_exactly_one_status() -> None:
    """RemoteProblem has its own."""
    known = leaves(errors.ServiceError) | leaves(picture_errors.PictureError)
    # Jobs and streams have errors of their own, which no service raises.
    own = ("services.", "elastic_yolo.picture.")
    raised = {one for one in known if one.__module__.startswith(own)}

    assert set(STATUS) == raised - {errors.RemoteProblem}


def test_the_statuses_are_those_of_the_contract() -> None:
    of_pictures = {400, 404, 411, 413, 415, 422, 429, 503, 504}
    of_the_repository = {401}
    of_clients = {403}

    statuses = {int(status) for status in STATUS.values()}

    assert statuses == of_pictures | of_the_repository | of_clients


def test_an_unexpected_error_reveals_nothing() -> None:
    response = problem_response(RuntimeError("password=hunter2 at 10.0.0.7"), "0" * 32)

    assert response.status_code == 500
    assert b"hunter2" not in response.body
    assert b"10.0.0.7" not in response.body


@pytest.mark.parametrize(
    "valid", ["0" * 32, "8844047e9ce84ecf841fb6f002a14f5d", "8844047e-9ce8-4ecf-841f-b6f002a14f5d"]
)
def test_a_valid_request_id_is_kept(valid: str) -> None:
    assert accept_request_id(valid) == valid
    assert len(RequestContext(valid, Deadline.after_ms(1)).uid) == 32


@given(st.text(max_size=64))
def test_any_other_request_id_is_replaced(sent: str) -> None:
    accepted = accept_request_id(sent)

    assert accepted == sent or (len(accepted) == 32 and int(accepted, 16) >= 0)
    assert "\n" not in accepted


def test_a_callers_budget_can_only_shorten_the_deadline() -> None:
    assert Deadline.from_header("500", 1000).remaining_s() <= 0.5
    assert 0.5 < Deadline.from_header("999999", 1000).remaining_s() <= 1
    assert 0.5 < Deadline.from_header(None, 1000).remaining_s() <= 1


def test_the_next_service_gets_less_time() -> None:
    assert 0 < int(Deadline.after_ms(800).to_header()["x-timeout-ms"]) < 800


@pytest.mark.parametrize("value", ["", "soon", "-5", "1.5", "1e3", "٣", "9" * 13])
def test_a_budget_that_is_not_a_number_is_malformed(value: str) -> None:
    with pytest.raises(errors.MalformedRequest, match="X-Timeout-Ms"):
        Deadline.from_header(value, 1000)


def test_a_passed_deadline_is_an_error() -> None:
    with pytest.raises(errors.DeadlineExceeded):
        Deadline.from_header("0", 1000).remaining_s()


@pytest.mark.parametrize(
    "sent", ["a;dur=1.2.3", "a;dur=....", "a;dur=1.", f"a;dur={'9' * 400}", "a;dur=-1"]
)
def test_a_duration_that_is_no_number_is_ignored(sent: str) -> None:
    """Servers of other makes, and proxies, have their own Server-Timing."""
    timings = Timings()
    timings.absorb(f"{sent}, b;dur=2")
    header = timings.to_header("web")

    assert "b;dur=2.00" in header
    assert "a;dur" not in header


def test_a_tiers_own_time_excludes_later_tiers() -> None:
    timings = Timings()
    timings.absorb("preprocess;dur=5.00, decode;dur=4.00, inference;dur=30.00, engine;dur=29.00")
    timings.add_ms("extra", 1.5)

    header = timings.to_header("web")

    entries = dict(entry.split(";")[:2] for entry in header.split(", "))
    assert entries["web"] == "dur=0.00"  # less time has passed here than the other tiers report
    assert entries["inference"] == "dur=30.00"
    assert entries["extra"] == "dur=1.50"


def test_a_description_passes_from_tier_to_tier() -> None:
    inference, preprocess = Timings(), Timings()
    inference.add_ms("engine", 9.1)
    inference.describe("engine", "openvino bf16")
    preprocess.absorb(inference.to_header("inference"))

    header = preprocess.to_header("preprocess")

    host = host_name()
    assert re.fullmatch(
        rf'preprocess;dur=[0-9.]+;desc="{host}", inference;dur=[0-9.]+;desc="{host}", '
        r'engine;dur=9.10;desc="openvino bf16"',
        header,
    )


def test_an_entry_keeps_each_of_its_descriptions_once() -> None:
    """Two models of an ensemble, or two attempts, may run in different pods."""
    timings = Timings()
    for pod in ("pod-a", "pod-b", "pod-a"):
        timings.absorb(f'inference;dur=2;desc="{pod}"')

    assert 'inference;dur=6.00;desc="pod-a + pod-b"' in timings.to_header("web")


@pytest.mark.parametrize(
    "sent",
    [
        'a;dur=1;desc="x, b;dur=7"',
        'a;dur=1;desc="x\\", b;dur=7"',
        'a;desc="b;dur=7";dur=1',
        'a;dur=1;desc="\r\nX-Evil: 1"',
        f'a;dur=1;desc="{"x" * 201}"',
        'a;dur=1;desc=""',
        'a;dur=1;desc="<img>"',
        'a;dur=1;desc="',
    ],
)
def test_a_description_that_is_not_one_of_ours_is_ignored(sent: str) -> None:
    timings = Timings()
    timings.absorb(sent)
    header = timings.to_header("web").partition(", ")[2]

    assert header in ("a;dur=1.00", "")


@given(st.lists(st.text(), max_size=5))
def test_descriptions_make_no_entry_of_their_own(texts: list[str]) -> None:
    """Whatever a description is, the header has one line, and the entries that it should have."""
    timings = Timings()
    timings.add_ms("engine", 1.0)
    for text in texts:
        timings.describe("engine", text)

    header = timings.to_header("web")

    assert header.isascii()
    assert header.isprintable()
    assert [entry.partition(";")[0] for entry in header.split(", ")] == ["web", "engine"]
    assert len(header) < 500


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "50000 100000"}, 0.5),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "25000", "cpu/cpu.cfs_period_us": "100000"}, 0.25),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_the_cpu_quota_is_that_of_the_cgroup(
    tmp_path: Path, files: dict[str, str], expected: float | None
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    unlimited = cpu_quota(tmp_path / "absent")

    assert cpu_quota(tmp_path) == (unlimited if expected is None else expected)
    assert thread_count(tmp_path) >= 1


EXPECTED = [("cat", 0.9, [10, 10, 5, 5]), ("cat", 0.8, [30, 30, 5, 5])]


@pytest.mark.parametrize(
    ("found", "difference"),
    [
        ([("cat", 0.8, [30, 30, 5, 5]), ("cat", 0.9, [10.5, 10, 5, 5.9])], None),
        ([("cat", 0.9, [10, 10, 5, 5])], "expected 2 objects, found 1"),
        ([("cat", 0.9, [10, 10, 5, 5]), ("dog", 0.8, [30, 30, 5, 5])], "no cat with score 0.800"),
        ([("cat", 0.9, [10, 10, 5, 5]), ("cat", 0.7, [30, 30, 5, 5])], "no cat with score 0.800"),
        ([("cat", 0.9, [12, 10, 5, 5]), ("cat", 0.8, [30, 30, 5, 5])], "no cat with score 0.900"),
    ],
)
def test_detections_are_compared_with_the_expected_ones(
    found: list, difference: str | None
) -> None:
    result = first_difference(EXPECTED, found, px=1, score=0.05)

    assert result is None if difference is None else difference in str(result)


def test_timings_can_be_read_while_a_thread_adds_to_them() -> None:
    """After a deadline, the engine's thread still adds its phases."""
    timings, stop = Timings(), threading.Event()

    def add() -> None:
        for number in itertools.count():
            timings.add_ms(f"phase{number % 500}", 1.0)
            if stop.is_set():
                return

    thread = threading.Thread(target=add)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for _ in range(3000):
            assert all(milliseconds > 0 for _, milliseconds in timings.own_phases())
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        thread.join()
