"""What makes a soak fail: wrong boxes, wrong statuses, lost answers, growing processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.soak import report
from bench.soak.exchange import Address, Callers, End, Leaving, Reply, Request
from bench.soak.faults import Windows
from bench.soak.fleet import LABELS, MODEL
from bench.soak.judgement import Circumstances, Rule, Verdict, allow, judge
from bench.soak.kinds import KINDS, World, head
from bench.soak.resources import Life, Limits, Usage, find_growth, read_usage
from bench.soak.run import PICTURES, Plan, Result, plan_request
from bench.soak.samples import Query, Sample, TensorSample, make_samples, make_tensor
from bench.soak.tally import Tally
from elastic_yolo.lab.processes.stack import DEMO_MODEL, free_port
from tests.support.misbehaving import (
    Behaviour,
    Server,
    close_within_response,
    reset_within_response,
    reset_without_response,
    respond,
)
from tests.support.waiting import wait_until

CALM = Circumstances()
ELSEWHERE = Circumstances(any_fault=True)
THERE = Circumstances(any_fault=True, own_fault=True)
PLAN = Plan(seconds=60, seed=1, rate=10, concurrency=8, warm_up_s=10, fault_pause_s=0)


def answer(status: int, content: Any = None, **headers: str) -> Reply:
    """Return an answer as services give it; errors are problem documents."""
    given = {"x-request-id": "1", "content-type": "application/json"}
    if status >= 400:
        given |= {"content-type": "application/problem+json", "retry-after": "1"}
        content = content or {"status": status, "title": "t", "uid": "u"}
    return Reply(End.ANSWER, status, given | headers, json.dumps(content).encode())


@pytest.mark.parametrize(
    ("rule", "reply", "during", "verdict"),
    [
        (allow(200), answer(200), CALM, Verdict.ANSWERED),
        (allow(200, is_right=lambda _: False), answer(200), CALM, Verdict.WRONG),
        (allow(200), answer(500), CALM, Verdict.UNEXPECTED),
        (allow(415, 422), answer(422), CALM, Verdict.REFUSED),
        (allow(415, 422), answer(200), CALM, Verdict.UNEXPECTED),
        # A picture is owed its boxes whatever happens to other processes ...
        (allow(200), answer(503), ELSEWHERE, Verdict.UNEXPECTED),
        (allow(200), Reply(End.CLOSED), ELSEWHERE, Verdict.LOST),
        (allow(200), Reply(End.TIMEOUT), ELSEWHERE, Verdict.LOST),
        # ... unless the kind allows more, or the process itself was hit.
        (allow(200, in_faults=(503,)), answer(503), ELSEWHERE, Verdict.REFUSED),
        (allow(200, in_faults=(503,)), answer(503), CALM, Verdict.UNEXPECTED),
        (allow(200), answer(503), THERE, Verdict.CUT),
        (allow(200), answer(404), THERE, Verdict.UNEXPECTED),
        (allow(200), Reply(End.REFUSED), THERE, Verdict.CUT),
        (allow(200), Reply(End.REFUSED), CALM, Verdict.LOST),
        (allow(413, may_close=True), Reply(End.CLOSED), CALM, Verdict.REFUSED),
        (allow(413, may_close=True), Reply(End.TIMEOUT), CALM, Verdict.LOST),
        (allow(), Reply(End.LEFT), CALM, Verdict.LEFT),
    ],
)
def test_each_answer_has_its_verdict(
    rule: Rule, reply: Reply, during: Circumstances, verdict: Verdict
) -> None:
    assert judge(rule, reply, during)[0] is verdict


@pytest.mark.parametrize(
    "reply",
    [
        replace(answer(404), headers={"content-type": "application/problem+json"}),
        answer(404, **{"content-type": "text/plain"}),
        answer(404, {"status": 400, "title": "t", "uid": "u"}),
        answer(404, {"status": 404, "title": "t"}),
        replace(answer(404), body=b"Not Found"),
        answer(429, **{"retry-after": ""}),
    ],
)
def test_an_error_in_another_form_is_unexpected(reply: Reply) -> None:
    assert judge(allow(404, 429), reply, CALM)[0] is Verdict.UNEXPECTED


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return make_samples(PICTURES, DEMO_MODEL, LABELS)


@pytest.fixture(scope="module")
def tensor(samples: list[Sample]) -> TensorSample:
    return make_tensor(samples[0].content, DEMO_MODEL, LABELS)


@pytest.fixture(scope="module")
def world(samples: list[Sample], tensor: TensorSample) -> World:
    web, *others = (Address(name, port) for port, name in enumerate("web p i".split(), 1))
    ensemble = f"ensemble:{MODEL}+second"
    return World(web, others[:1], others[1:], MODEL, ensemble, samples, tensor, lambda *_: True)


def as_web(sample: Sample, version: str) -> dict[str, Any]:
    """Return the expected response of web."""
    data = [[label, score, list(box)] for label, score, box in sample.expected[Query()][version]]
    return {"data": data, "success": "true", "model": {"version": version}}


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: answer["data"].pop(),
        lambda answer: answer["data"].append(answer["data"][0]),
        lambda answer: answer["data"][0].__setitem__(0, "dog"),
        lambda answer: answer["data"][-1].__setitem__(1, answer["data"][-1][1] - 0.03),
        lambda answer: answer["data"][-1][2].__setitem__(0, answer["data"][-1][2][0] + 3),
        lambda answer: answer["model"].__setitem__("version", "2"),
        lambda answer: answer["model"].__setitem__("version", "3"),
        lambda answer: answer.__setitem__("success", "false"),
        lambda answer: answer.__delitem__("model"),
    ],
)
def test_one_changed_detection_makes_an_answer_wrong(samples: list[Sample], change: Change) -> None:
    right = as_web(samples[0], "1")
    wrong = as_web(samples[0], "1")
    change(wrong)

    assert samples[0].is_right(Query(), json.dumps(right).encode())
    assert not samples[0].is_right(Query(), json.dumps(wrong).encode())


def test_every_sample_has_objects_and_each_version_has_other_labels(samples: list[Sample]) -> None:
    assert {sample.media_type for sample in samples} == {
        "image/jpeg",
        "image/png",
        "image/webp",
        "image/bmp",
    }
    for sample in samples:
        first, second = (sample.expected[Query()][version] for version in ("1", "2"))
        assert [f"second {label}" for label, *_ in first] == [label for label, *_ in second]
        assert first


def test_a_row_of_a_tensor_that_moved_is_wrong(tensor: TensorSample) -> None:
    def as_inference(rows: np.ndarray) -> bytes:
        labels = {str(int(row[5])): tensor.labels["1"][int(row[5])] for row in rows}
        outputs = [{"name": "detections", "data": rows.ravel().tolist()}]
        return json.dumps(
            {"model_version": "1", "parameters": {"labels": labels}, "outputs": outputs}
        ).encode()

    moved = tensor.rows.copy()
    moved[0, 0] += 3

    assert tensor.is_right(as_inference(tensor.rows))
    assert not tensor.is_right(as_inference(moved))
    assert not tensor.is_right(as_inference(tensor.rows[1:]))


def test_a_seed_repeats_the_requests(world: World) -> None:
    def plan(seed: int) -> list[tuple[str, Request]]:
        planned = [plan_request(world, seed, number) for number in range(300)]
        return [(name, request) for name, (request, _) in planned]

    assert plan(1) == plan(1)
    assert plan(1) != plan(2)
    names = {kind.__name__.replace("_", " ") for kind, share in KINDS.items() if share >= 1}
    assert {name for name, _ in plan(1)} >= names


GET = head("GET", "/")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("behaviour", "end", "status"),
    [
        (respond(404), End.ANSWER, 404),
        (reset_without_response, End.CLOSED, 0),
        (reset_within_response, End.CLOSED, 0),
        (close_within_response, End.CLOSED, 0),
    ],
)
async def test_half_an_answer_is_none(behaviour: Behaviour, end: End, status: int) -> None:
    async with Server("127.0.0.1", behaviour).running() as server:
        reply = await Callers().send(Request(Address("web", server.port), (GET,)))

    assert (reply.end, reply.status) == (end, status)


@pytest.mark.anyio
async def test_nobody_listens() -> None:
    reply = await Callers().send(Request(Address("web", free_port()), (GET,)))

    assert reply.end is End.REFUSED


@pytest.mark.anyio
async def test_a_caller_can_leave_before_it_has_sent_anything() -> None:
    async with Server("127.0.0.1", respond(200)).running() as server:
        request = Request(
            Address("web", server.port), (b"",), leaving=Leaving.AFTER_SENDING, reset=True
        )
        reply = await Callers().send(request)

    assert reply.end is End.LEFT
    assert not server.calls


@pytest.mark.anyio
async def test_kept_connections_are_used_again_and_opened_again() -> None:
    callers = Callers()
    async with Server("127.0.0.1", respond(200)).running() as server:
        request = Request(Address("web", server.port), (GET,), kept=True)
        for _ in range(3):
            assert (await callers.send(request)).status == 200
        assert len(server.connections) == 1
        next(iter(server.connections)).close()
        assert (await callers.send(request)).status == 200
        callers.close()


@pytest.fixture
def leaking() -> Iterator[subprocess.Popen[str]]:
    """A process that opens 100 descriptors and holds 100 MB more after a line on its input."""
    program = (
        "import os, sys; print('up', flush=True); sys.stdin.readline(); "
        "held = bytearray(os.urandom(1)) * 10**8; "
        "opened = [os.open('/dev/null', 0) for _ in range(100)]; "
        "print('leaked', flush=True); sys.stdin.readline()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def test_a_process_that_leaks_memory_and_descriptors_is_found(
    leaking: subprocess.Popen[str],
) -> None:
    assert leaking.stdout
    assert leaking.stdin
    life = Life("web", leaking.pid, 0)
    for second in range(40):
        if second in (0, 20):
            leaking.stdout.readline()
        if second == 19:
            leaking.stdin.write("\n")
            leaking.stdin.flush()
        usage = read_usage(leaking.pid)
        assert usage is not None
        life.samples.append((second, usage))

    found = find_growth([life], 2, Limits(rss_mb=64, descriptors=64))

    assert [words.split(" by ")[1] for words in found] == [
        "100 MB: limit 64",
        "100 descriptors: limit 64",
    ]
    # What happens within the warm-up is no leak.
    assert find_growth([replace(life, samples=life.samples[20:])], 0, Limits()) == []


def test_a_process_that_has_ended_has_no_usage(leaking: subprocess.Popen[str]) -> None:
    leaking.kill()
    leaking.wait()

    wait_until(lambda: read_usage(leaking.pid) is None, "the process is gone")


def steady(rss_mb: float = 100) -> Life:
    usage = Usage(rss_mb, 20, 8)
    return Life("web", 1, 0, [(second, usage) for second in range(60)])


def test_a_fault_excuses_requests_to_its_process_and_only_while_it_lasts() -> None:
    windows = Windows()
    begin = time.monotonic()
    with windows.fault_in("inference-2"):
        lasting = windows.during(begin, time.monotonic(), "inference-2")
        elsewhere = windows.during(begin, time.monotonic(), "inference-1")
    end = time.monotonic()

    assert lasting == THERE
    assert elsewhere == ELSEWHERE
    # Its process may be late by two seconds; what others tell of it is older.
    assert windows.during(end + 3, end + 4, "inference-2") == ELSEWHERE
    assert windows.during(end + 8, end + 9, "inference-2") == CALM
    assert windows.during(begin - 9, begin - 8, "inference-2") == CALM


def tally_of(*verdicts: Verdict) -> Tally:
    tally = Tally()
    for verdict in verdicts:
        tally.add("picture", verdict, "why", "where")
    return tally


@pytest.mark.parametrize(
    ("verdict", "passed"),
    [
        (Verdict.ANSWERED, True),
        (Verdict.REFUSED, True),
        (Verdict.LEFT, True),
        (Verdict.CUT, True),
        (Verdict.WRONG, False),
        (Verdict.UNEXPECTED, False),
        (Verdict.LOST, False),
    ],
)
def test_one_failure_fails_a_run(verdict: Verdict, *, passed: bool) -> None:
    result = Result(PLAN, tally_of(*[Verdict.ANSWERED] * 1000, verdict), [steady()], 60)

    assert result.passed is passed
    assert ("FAILED" in report.text(result)) is not passed
    assert report.to_json(result)["passed"] is passed


def test_a_run_without_a_request_does_not_pass() -> None:
    assert not Result(PLAN, Tally(), [steady()], 60).passed


def test_a_peak_is_no_growth() -> None:
    life = steady()
    life.samples[50:55] = [
        (at_s, replace(usage, rss_mb=500)) for at_s, usage in life.samples[50:55]
    ]

    assert find_growth([life], 10, Limits()) == []


def test_growth_fails_a_run_and_is_named() -> None:
    life = steady()
    life.samples[40:] = [(at_s, replace(usage, rss_mb=200)) for at_s, usage in life.samples[40:]]

    result = Result(PLAN, tally_of(Verdict.ANSWERED), [life], 60)

    assert not result.passed
    assert "web (pid 1) grew by 100 MB: limit 64" in report.text(result)
    assert "100 100 200" in report.text(result)
