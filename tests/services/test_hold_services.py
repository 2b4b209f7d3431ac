"""The real services while the only process of the one behind is away."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import pytest

from elastic_yolo.lab.processes.stack import Service, Stack, free_port
from tests.support.misbehaving import until
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model
from tests.support.waiting import wait_until

PICTURE = encode(plain(64, 48), "JPEG")
PATIENCE_S = 60
# Of the process that is killed: as often as the time between two kills allows on a busy machine.
KILLS = int(os.environ.get("KILLS", "3"))
RATE = 8.0


def detect(stack: Stack, picture: bytes = PICTURE) -> httpx.Response:
    headers = {"Content-Type": "image/jpeg"}
    url = f"{stack.web.url}/inference"
    return httpx.post(url, content=picture, headers=headers, timeout=PATIENCE_S)


def metric(service: Service, name: str) -> float:
    """Return the sum of a metric over its labels."""
    lines = httpx.get(f"{service.url}/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{name}[{{ ]", line))


def kill(service: Service) -> None:
    service.process.kill()
    service.process.wait()


@contextmanager
def sending(
    stack: Stack, count: int, picture: bytes = PICTURE
) -> Iterator[list[Future[httpx.Response]]]:
    with ThreadPoolExecutor(count) as threads:
        yield [threads.submit(detect, stack, picture) for _ in range(count)]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    env = {name: {"HOLD_S": str(PATIENCE_S)} for name in ("web", "preprocess")}
    with Stack(model=write_tiny_model(tmp_path / "model"), logs=tmp_path, env=env) as running:
        assert detect(running).status_code == 200
        yield running


@pytest.mark.parametrize(("killed", "holder"), [("inference", "preprocess"), ("preprocess", "web")])
def test_pictures_wait_for_the_only_process_and_all_tiers_stay_ready(
    stack: Stack, killed: str, holder: str
) -> None:
    gone, holds = getattr(stack, killed), getattr(stack, holder)
    kill(gone)
    with sending(stack, 5) as responses:
        wait_until(lambda: metric(holds, "elastic_yolo_requests_held") == 5, "five are held")
        assert httpx.get(f"{holds.url}/readyz").status_code == 200
        assert httpx.get(f"{stack.web.url}/readyz").status_code == 200
        # It waits for nothing: it says how things are.
        status = httpx.get(f"{stack.web.url}/health/status")
        assert (status.status_code, metric(holds, "elastic_yolo_peer_reachable")) == (503, 0)
        assert int(status.headers["retry-after"]) >= 1
        gone.start()
    for response in responses:
        assert response.result().json()["data"][0][0] == "square"
        assert f"{holder}_hold;dur=" in response.result().headers["server-timing"]
    assert metric(holds, "elastic_yolo_requests_held") == 0
    assert metric(holds, "elastic_yolo_peer_reachable") == 1


def test_a_caller_that_leaves_gives_its_place_back(stack: Stack) -> None:
    kill(stack.preprocess)
    with httpx.Client() as client:
        url = f"{stack.web.url}/inference"
        with pytest.raises(httpx.ReadTimeout):
            client.post(url, content=PICTURE, headers={"Content-Type": "image/jpeg"}, timeout=1)
    wait_until(lambda: metric(stack.web, "elastic_yolo_requests_held") == 0, "its place is free")
    stack.preprocess.start()
    assert detect(stack).status_code == 200


def test_a_process_that_never_reached_the_next_service_is_ready_only_if_told_so() -> None:
    away = {"PREPROCESS_URL": f"http://127.0.0.1:{free_port()}"}
    with (
        Service("web", free_port(), away) as waiting,
        Service("web", free_port(), {**away, "READY_ALONE": "true"}) as alone,
    ):
        alone.wait_ready()
        wait_until(lambda: _status(waiting, "/livez") == 200, "it has started")
        assert _status(waiting, "/readyz") == 503


def test_a_picture_whose_model_is_not_known_yet_counts_with_its_bytes(tmp_path: Path) -> None:
    """A fresh preprocess asks for metadata first, without a body, while the picture waits."""
    port = free_port()
    settings = {"INFERENCE_URL": f"http://127.0.0.1:{port}", "READY_ALONE": "true"}
    model = {"MODEL_PATH": str(write_tiny_model(tmp_path / "model"))}
    with (
        Service("preprocess", free_port(), settings) as preprocess,
        ThreadPoolExecutor() as threads,
    ):
        preprocess.wait_ready()
        url = f"{preprocess.url}/process"
        sent = threads.submit(httpx.post, url, content=PICTURE, timeout=PATIENCE_S)
        wait_until(lambda: metric(preprocess, "elastic_yolo_requests_held") == 1, "it is held")
        assert metric(preprocess, "elastic_yolo_held_request_bytes") == len(PICTURE)
        with Service("inference", port, model):
            assert sent.result().status_code == 200


def _status(service: Service, path: str) -> int:
    try:
        return httpx.get(service.url + path).status_code
    except httpx.TransportError:
        return 0


@pytest.mark.long
@pytest.mark.timeout(60 + 30 * KILLS)
@pytest.mark.parametrize("killed", ["inference", "preprocess"])
def test_killing_the_only_process_again_and_again_loses_no_picture(
    stack: Stack, killed: str
) -> None:
    """`KILLS=10` kills more often."""
    service = getattr(stack, killed)

    results: list[int] = []

    async def send(client: httpx.AsyncClient) -> None:
        headers = {"Content-Type": "image/jpeg"}
        response = await client.post(f"{stack.web.url}/inference", content=PICTURE, headers=headers)
        results.append(response.status_code)

    async def send_steadily() -> None:
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client, asyncio.TaskGroup() as sent:
            while not done.is_set():
                sent.create_task(send(client))
                with suppress(TimeoutError):
                    await asyncio.wait_for(done.wait(), 1 / RATE)

    async def kill_under_load() -> None:
        load = asyncio.create_task(send_steadily())
        for _ in range(KILLS):
            enough = len(results) + 2 * RATE
            await until(lambda enough=enough: len(results) >= enough, "pictures are answered")
            kill(service)
            service.start()
        done.set()
        await load

    done = asyncio.Event()
    asyncio.run(kill_under_load())
    assert len(results) >= 2 * RATE * KILLS
    assert set(results) == {200}


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("killed", "holder"), [("inference", "preprocess"), ("preprocess", "web")])
def test_ten_times_as_many_pictures_as_can_be_held_do_not_fill_the_memory(
    tmp_path: Path, killed: str, holder: str
) -> None:
    """Those that are not held get 503; none is lost without a response."""
    most = 20
    env = {name: {"HOLD_S": "20", "HOLD_REQUESTS": str(most)} for name in ("web", "preprocess")}
    env["web"]["MAX_IN_FLIGHT"] = "1000"
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    picture = encode(pixels, "JPEG")
    with Stack(model=write_tiny_model(tmp_path / "model"), logs=tmp_path, env=env) as stack:
        with sending(stack, 10 * most, picture) as warm:
            pass
        assert {response.result().status_code for response in warm} <= {200, 429}
        holds = getattr(stack, holder)
        before = resident_bytes(holds)
        kill(getattr(stack, killed))
        with sending(stack, 10 * most, picture) as responses:
            wait_until(
                lambda: sum(response.done() for response in responses) == 9 * most,
                "all others are refused",
            )
            grown = resident_bytes(holds) - before
            assert metric(holds, "elastic_yolo_requests_held") == most
            getattr(stack, killed).start()
        statuses = [response.result().status_code for response in responses]
    assert (statuses.count(200), statuses.count(503)) == (most, 9 * most)
    assert grown < 30_000_000


def resident_bytes(service: Service) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{service.process.pid}/status").read_text())
    assert found is not None
    return int(found.group(1)) * 1024
