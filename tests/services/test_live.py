"""The live view of real services: who may see it, and that it sees every change."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from elastic_yolo.lab.processes.stack import Service, Stack, free_port
from tests.support.live import PATIENCE_S, Viewer, watching
from tests.support.load import Load
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model
from tests.support.waiting import wait_until

TOKEN = "a long enough token"  # noqa: S105
JPEG = encode(plain(64, 48), "JPEG")
# A poll comes twice a second. On a machine that other tests use, each takes longer.
SEEN_S = 1.0
LENIENCE_S = 4.0


def is_right(response: httpx.Response) -> bool:
    return bool(response.json()["data"][0][0] == "square")


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with a token, whose web knows a second one."""
    folder = tmp_path_factory.mktemp("live")
    second = free_port()
    env = {
        "web": {
            "ACCESS_TOKEN": TOKEN,
            "LIVE_LOAD": "true",
            "LIVE_WEB_URL": f"http://127.0.0.1:{second}",
        }
    }
    with Stack(model=write_tiny_model(folder / "model"), logs=folder, env=env) as stack:
        settings = {**stack.web.env, "LIVE_LOAD": ""}
        with Service("web", second, settings, folder / "second.log") as other:
            other.wait_ready()
            yield stack


BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/live/events"),
        ("GET", "/live/self"),
        ("POST", "/live/load"),
        ("DELETE", "/live/load"),
    ],
)
def test_with_a_token_the_view_is_closed_to_strangers(
    closed: Stack, method: str, path: str
) -> None:
    refused = httpx.request(method, f"{closed.web.url}{path}")

    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == "Bearer"


def test_the_page_itself_has_nothing_to_hide(closed: Stack) -> None:
    page = httpx.get(f"{closed.web.url}/live")

    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "script-src 'self'" in page.headers["content-security-policy"]


def test_with_the_token_all_processes_are_seen_also_the_other_web(closed: Stack) -> None:
    with watching(closed.web.url, BEARER) as viewer:
        wait_until(lambda: bool(viewer.events) and len(viewer.cards("web")) == 2, "two webs")
        state = viewer.events[-1][2]

    counts = {name: len(tier["cards"]) for name, tier in state["tiers"].items()}
    assert counts == {"web": 2, "preprocess": 1, "inference": 1}
    assert viewer.events[0][1] == "snapshot"
    (inference,) = state["tiers"]["inference"]["cards"]
    assert inference["state"] == "ready"
    assert inference["models"][0]["name"] == "tiny"
    assert inference["models"][0]["digest"].startswith("sha256:")
    assert "127.0.0.1" not in str(state)


def test_a_web_does_not_tell_others_the_addresses_that_it_knows(closed: Stack) -> None:
    own = httpx.get(f"{closed.web.url}/live/self", headers=BEARER).json()

    assert own["service"] == "web"
    assert "endpoints" not in own


def test_without_other_webs_a_web_describes_itself_to_nobody(web: httpx.Client) -> None:
    assert web.get("/live/self").status_code == 404


def test_the_view_is_not_in_the_api_documentation(closed: Stack) -> None:
    for service in closed.services:
        assert "live/" not in service.get("/openapi.json").decode()


def test_pictures_are_counted_and_load_can_be_ordered(closed: Stack) -> None:
    order = {"rate": 20, "seconds": 30}
    with watching(closed.web.url, BEARER) as viewer:
        ordered = httpx.post(f"{closed.web.url}/live/load", json=order, headers=BEARER)
        assert ordered.status_code == 204, ordered.text
        wait_until(
            lambda: (
                bool(viewer.events) and viewer.events[-1][2]["totals"]["statuses"].get("200", 0) > 5
            ),
            "pictures are served",
            PATIENCE_S,
        )
        load = viewer.events[-1][2]["load"]
        assert load["may"]
        assert load["rate"] == 20.0
        assert 0 < load["left_s"] <= 30
        stopped = httpx.delete(f"{closed.web.url}/live/load", headers=BEARER)
        assert stopped.status_code == 204
        wait_until(lambda: viewer.events[-1][2]["load"]["rate"] == 0, "the load ends", PATIENCE_S)

        # Those under way when it was stopped are answered as well.
        wait_until(lambda: viewer.cards("web")[0]["in_flight"] == 0, "all are over", PATIENCE_S)

    assert {status for _, _, data in viewer.events for status in data["totals"]["statuses"]} == {
        "200"
    }
    totals = [data["totals"] for _, _, data in viewer.events]
    assert any(one["p95_ms"] is not None for one in totals)
    assert any(one["served"] > 0 for one in totals)
    rates = [data["tiers"]["inference"]["cards"][0]["rate"] for _, _, data in viewer.events]
    assert max(rates) > 0


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"rate": 51, "seconds": 1},
        {"rate": 1, "seconds": 61},
        {"rate": 0, "seconds": 1},
        {"rate": 1},
    ],
)
def test_a_load_without_bounds_is_refused(closed: Stack, order: dict[str, Any]) -> None:
    refused = httpx.post(f"{closed.web.url}/live/load", json=order, headers=BEARER)

    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"


def test_another_site_cannot_order_load_through_a_visitor(closed: Stack) -> None:
    """A browser sends text to any site; for JSON it asks that site first."""
    headers = {**BEARER, "Content-Type": "text/plain"}
    body = '{"rate": 1, "seconds": 1}'
    refused = httpx.post(f"{closed.web.url}/live/load", content=body, headers=headers)

    assert refused.status_code == 415


def test_a_large_order_is_refused(closed: Stack) -> None:
    order = {"rate": 1, "seconds": 1, "why": "x" * 2000}

    assert httpx.post(f"{closed.web.url}/live/load", json=order, headers=BEARER).status_code == 413


def test_load_cannot_be_ordered_unless_it_is_allowed(web: httpx.Client) -> None:
    assert web.post("/live/load", json={"rate": 1, "seconds": 1}).status_code == 404
    assert web.delete("/live/load").status_code == 404


def test_a_head_request_ends_and_takes_no_place(demo_stack: Stack) -> None:
    with ExitStack() as viewers:
        for _ in range(3):
            head = httpx.head(f"{demo_stack.web.url}/live/events", timeout=PATIENCE_S)
            assert head.status_code == 200
            assert head.headers["content-type"] == "text/event-stream"
        for _ in range(60):
            viewers.enter_context(watching(demo_stack.web.url))


def test_the_61st_viewer_is_told_to_come_later(demo_stack: Stack) -> None:
    with ExitStack() as viewers:
        for _ in range(60):
            viewers.enter_context(watching(demo_stack.web.url))
        refused = httpx.get(f"{demo_stack.web.url}/live/events")

    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "10"
    assert refused.json()["detail"] == "60 watch already: try later"


def test_a_draining_web_ends_the_streams(tmp_path: Path, demo_stack: Stack) -> None:
    port = free_port()
    with Service("web", port, {**demo_stack.web.env}, tmp_path / "web.log") as web:
        web.wait_ready()
        with watching(web.url) as viewer:
            wait_until(lambda: bool(viewer.events), "an event", PATIENCE_S)
            assert web.stop() == 0
            assert viewer.ended.wait(PATIENCE_S)

    assert "Traceback" not in (tmp_path / "web.log").read_text()


def told(viewer: Viewer, port: int, kind: str) -> dict[str, Any] | None:
    """Return the change of a kind of the inference process on a port."""
    found = (one for one in viewer.changes() if one["name"] == f"inference-{port}")
    return next((one for one in found if one["kind"] == kind), None)


@pytest.mark.long
def test_every_change_from_one_to_three_and_back_is_seen_within_a_second(tmp_path: Path) -> None:
    """Ready by its own clock, its share of the load, its drain and its end."""
    stack = Stack(model=write_tiny_model(tmp_path / "model"), logs=tmp_path, copies=3)
    first = (stack.inference, stack.preprocess, stack.web)
    late = {}
    with ExitStack() as running:
        for service in first:
            running.enter_context(service)
        for service in first:
            service.wait_ready()
        viewer = running.enter_context(watching(stack.web.url))
        load = Load(f"{stack.web.url}/inference", JPEG, is_right)
        with load.running():
            load.wait_for(20)
            for service in stack.copies:
                running.enter_context(service)
                service.wait_ready()
                ready_at = time.time() - httpx.get(f"{service.url}/live/self").json()["ready_s"]
                for kind in ("appeared", "share"):
                    wait_until(
                        lambda port=service.port, kind=kind: told(viewer, port, kind) is not None,
                        f"{kind} {service.port}",
                        PATIENCE_S,
                    )
                appeared = told(viewer, service.port, "ready") or told(
                    viewer, service.port, "appeared"
                )
                assert appeared is not None
                late[f"ready {service.port}"] = appeared["arrived"] - ready_at
            assert len(viewer.cards("inference")) == 3
            for service in stack.copies:
                assert service.stop() == 0
                ended_at = time.time()
                wait_until(
                    lambda port=service.port: told(viewer, port, "gone") is not None,
                    f"gone {service.port}",
                    PATIENCE_S,
                )
                gone = told(viewer, service.port, "gone")
                assert gone is not None
                late[f"gone {service.port}"] = gone["arrived"] - ended_at
        wait_until(lambda: len(viewer.cards("inference")) == 1, "one is left", PATIENCE_S)

    print("seen after", {name: round(value, 2) for name, value in late.items()})  # noqa: T201  # the result
    assert set(load.statuses) == {200}
    assert max(late.values()) < SEEN_S + LENIENCE_S, late
