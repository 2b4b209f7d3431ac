"""The client in front of real services: answers, problems, and how long it waits for them."""

from __future__ import annotations

import asyncio
import io
import logging
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import httpx
import numpy as np
import pytest
from PIL import Image

from elastic_yolo.client import Answer, AsyncClient, Client
from elastic_yolo.client.errors import (
    Busy,
    DeadlinePassed,
    NoAnswer,
    NotAllowed,
    Problem,
    Rejected,
    UnknownModel,
)
from elastic_yolo.lab.processes.stack import Service, Stack, free_port
from tests.support.tls_services import running_with_tls
from tests.support.web_door import SCENES, count_responses, post_directly, web_before

SCENE = SCENES[0]
KEY = "0123456789abcdef"
LOGGER = "elastic_yolo.client"


def ask(url: str, picture: Path | bytes, **asked: float | str) -> Answer:
    with Client(url) as client:
        return client.detect(picture, **asked)  # type: ignore[arg-type]


def ask_async(url: str, picture: Path | bytes, **asked: float | str) -> Answer:
    async def run() -> Answer:
        async with AsyncClient(url) as client:
            return await client.detect(picture, **asked)  # type: ignore[arg-type]

    return asyncio.run(run())


@pytest.fixture(params=[ask, ask_async], ids=["Client", "AsyncClient"])
def detect(request: pytest.FixtureRequest) -> Callable[..., Answer]:
    """Each of the two clients."""
    chosen: Callable[..., Answer] = request.param
    return chosen


@pytest.mark.parametrize("scene", [0, 3, 5, 9], ids=["JPEG", "PNG", "WebP", "BMP"])
def test_an_answer_has_the_values_of_the_service(
    web: httpx.Client, detect: Callable[..., Answer], scene: int
) -> None:
    url = str(web.base_url)

    answer = detect(url, SCENES[scene])

    expected = post_directly(url, SCENES[scene])
    assert expected["data"]
    assert [[one.label, one.score, list(one.box)] for one in answer.detections] == expected["data"]
    assert {"width": answer.width, "height": answer.height} == expected["image"]
    assert vars(answer.model) == expected["model"]


def test_an_answer_has_its_request_id_and_the_time_in_every_tier(
    web: httpx.Client, detect: Callable[..., Answer]
) -> None:
    answer = detect(str(web.base_url), SCENE.read_bytes())

    assert answer.headers["x-request-id"] == answer.uid
    assert answer.server_timing.keys() >= {"web", "preprocess", "inference", "engine"}


def test_threshold_iou_and_model_are_asked_for(
    web: httpx.Client, detect: Callable[..., Answer]
) -> None:
    url = str(web.base_url)
    everything = detect(url, SCENE)

    few = detect(url, SCENE, threshold=0.9, iou=0.3, model=everything.model.name)

    assert [one for one in everything.detections if one.score > 0.9] == list(few.detections)
    assert 0 < len(few.detections) < len(everything.detections)


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/png"])
def test_a_drawn_picture_has_boxes_and_the_size_of_the_picture(
    web: httpx.Client, media_type: str
) -> None:
    with Client(str(web.base_url)) as client:
        drawn = client.draw(SCENE, media_type)

    picture, original = Image.open(io.BytesIO(drawn)), Image.open(SCENE)
    assert Image.MIME[str(picture.format)] == media_type
    assert picture.size == original.size
    difference = np.abs(np.asarray(picture, int) - np.asarray(original.convert("RGB"), int))
    # Lines and labels, and not the whole picture.
    assert 0.005 < (difference.max(axis=2) > 60).mean() < 0.3


@pytest.mark.parametrize(
    ("picture", "asked", "kind", "status", "said"),
    [
        (b"<html>", {}, Rejected, 415, "not an accepted picture format"),
        (b"", {}, Rejected, 400, "empty"),
        (b"\xff\xd8\xff\xe0", {}, Rejected, 422, ""),
        (SCENE, {"threshold": 2}, Rejected, 422, "threshold: expected a number from 0 to 1"),
        (SCENE, {"model": "absent"}, UnknownModel, 404, "no model 'absent' here"),
    ],
)
def test_an_error_is_a_typed_exception_with_the_details_of_the_problem(
    web: httpx.Client,
    detect: Callable[..., Answer],
    picture: Path | bytes,
    asked: dict[str, float | str],
    kind: type[Problem],
    status: int,
    said: str,
) -> None:
    with pytest.raises(kind) as raised:
        detect(str(web.base_url), picture, **asked)

    assert raised.value.status == status
    assert said in raised.value.detail
    assert len(raised.value.uid) == 32
    assert str(raised.value).startswith(f"{status} {raised.value.title}: ")


def test_a_file_that_is_not_there_is_an_error_of_the_system(detect: Callable[..., Answer]) -> None:
    with pytest.raises(FileNotFoundError):
        detect("http://127.0.0.1:9", Path("absent.jpg"))


def test_the_token_is_that_of_the_environment_or_an_argument(
    demo_stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with web_before(demo_stack, tmp_path / "web.log", ACCESS_TOKEN=KEY) as guarded:
        monkeypatch.delenv("ELASTIC_YOLO_TOKEN", raising=False)
        with Client(guarded.url) as client, pytest.raises(NotAllowed) as raised:
            client.detect(SCENE)
        with Client(guarded.url, token=KEY) as client:
            by_argument = client.detect(SCENE)
        monkeypatch.setenv("ELASTIC_YOLO_TOKEN", f"{KEY}\n")
        with Client(guarded.url) as client:
            by_variable = client.detect(SCENE)

    assert raised.value.status == 401
    assert by_argument.detections == by_variable.detections != ()


def test_all_pictures_get_an_answer_from_a_service_that_takes_one_at_a_time(
    demo_stack: Stack, tmp_path: Path
) -> None:
    async def run(url: str) -> list[Answer]:
        async with AsyncClient(url) as client:
            return await asyncio.gather(*(client.detect(scene) for scene in SCENES[:6]))

    with web_before(demo_stack, tmp_path / "web.log", MAX_IN_FLIGHT="1") as narrow:
        answers = asyncio.run(run(narrow.url))
        refused, answered = count_responses(narrow, "429"), count_responses(narrow, "200")

    assert refused > 0
    assert answered == 6
    for scene, answer in zip(SCENES, answers, strict=False):
        expected = post_directly(demo_stack.web.url, scene)["data"]
        assert [one.label for one in answer.detections] == [label for label, *_ in expected]


class Noted(logging.Handler):
    """Notes that the client waits for the service."""

    def __init__(self) -> None:
        """Note nothing yet."""
        super().__init__()
        self.event = Event()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())
        self.event.set()


@pytest.fixture
def noted() -> Iterator[Noted]:
    """What the client's logger says."""
    handler, logger = Noted(), logging.getLogger(LOGGER)
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


def test_a_service_that_starts_later_gets_the_picture(
    demo_stack: Stack, detect: Callable[..., Answer], noted: Noted, tmp_path: Path
) -> None:
    port = free_port()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(detect, f"http://127.0.0.1:{port}", SCENE)
        assert noted.event.wait(20)
        with web_before(demo_stack, tmp_path / "web.log", port=port):
            found = answer.result(60)

    assert found.detections
    assert "no answer (Connection refused); next attempt in" in noted.said[0]


@pytest.fixture
def own_preprocess(demo_stack: Stack, tmp_path: Path) -> Service:
    """A preprocess service that does not run yet."""
    env = {"INFERENCE_URL": demo_stack.inference.url}
    return Service("preprocess", free_port(), env, tmp_path / "preprocess.log")


def test_a_service_that_is_not_ready_yet_is_asked_again(
    detect: Callable[..., Answer], noted: Noted, own_preprocess: Service, tmp_path: Path
) -> None:
    env = {"PREPROCESS_URL": own_preprocess.url, "HOLD_S": "0"}
    web = Service("web", free_port(), env, tmp_path / "web.log")
    with ThreadPoolExecutor(1) as pool, ExitStack() as running:
        running.enter_context(web)
        answer = pool.submit(detect, web.url, SCENE)
        assert noted.event.wait(20)
        # It listens now, and has nothing behind it.
        while not any("503 Service Unavailable" in line for line in list(noted.said)):
            noted.event.clear()
            assert noted.event.wait(20)
        running.enter_context(own_preprocess)
        found = answer.result(60)

    assert found.detections


def test_a_service_that_stays_busy_is_an_error_with_what_it_asks(
    own_preprocess: Service, tmp_path: Path
) -> None:
    """Retry-After is a second at least: longer than the call may take."""
    env = {"PREPROCESS_URL": own_preprocess.url, "HOLD_S": "0"}
    with ExitStack() as running:
        running.enter_context(own_preprocess)
        web = running.enter_context(Service("web", free_port(), env, tmp_path / "web.log"))
        web.wait_ready()
        own_preprocess.stop()
        with Client(web.url, timeout_s=0.9) as client, pytest.raises(Busy) as raised:
            client.detect(SCENE)
        sent = count_responses(web, "503")

    assert raised.value.status == 503
    assert raised.value.retry_after_s is not None
    assert raised.value.retry_after_s >= 1
    assert (len(raised.value.uid), sent) == (32, 1)


def test_the_services_own_words_about_a_deadline_arrive_in_time(
    own_preprocess: Service, tmp_path: Path
) -> None:
    """Preprocess is frozen: its connections stay open."""
    env = {"PREPROCESS_URL": own_preprocess.url}
    with ExitStack() as running:
        running.enter_context(own_preprocess)
        web = running.enter_context(Service("web", free_port(), env, tmp_path / "web.log"))
        web.wait_ready()
        own_preprocess.process.send_signal(signal.SIGSTOP)
        running.callback(own_preprocess.process.send_signal, signal.SIGCONT)
        with Client(web.url, timeout_s=3) as client, pytest.raises(DeadlinePassed) as raised:
            client.detect(SCENE)

    assert raised.value.status == 504
    assert len(raised.value.uid) == 32


@pytest.mark.long
def test_a_private_ca_is_trusted_if_the_environment_names_it(
    noted: Noted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE; without it, the error comes at once and not when the time is over."""
    with running_with_tls(tmp_path) as stack:
        with Client(stack.web.url) as client, pytest.raises(NoAnswer, match="certificate"):
            client.detect(SCENE)
        monkeypatch.setenv("SSL_CERT_FILE", stack.pairs["web"].env["TLS_CA_FILE"])
        found = ask(stack.web.url, SCENE)

    assert found.model.name == "tiny"
    assert noted.said == []


def test_loopback_needs_no_proxy(
    web: httpx.Client, detect: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy of the environment does not exist."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert detect(str(web.base_url), SCENE).detections


def test_a_connection_is_used_again(web: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    """Also after an error: a handshake for each picture would take longer than the picture."""
    caplog.set_level(logging.DEBUG, "httpcore.connection")
    with Client(str(web.base_url)) as client:
        client.detect(SCENE)
        with pytest.raises(Rejected):
            client.detect(b"<html>")
        client.draw(SCENE)

    opened = [one for one in caplog.messages if one.startswith("connect_tcp.complete")]
    assert len(opened) == 1
