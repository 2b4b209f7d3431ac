"""Detection by the three services, which run."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import pytest

from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.inputs import Frame
from elastic_yolo.lab.processes.stack import DEMO_MODEL, LOOPBACK, ROOT, Stack, free_port
from elastic_yolo.picture.errors import PictureError
from elastic_yolo.stream.errors import BadAddress, Refused, Unavailable
from elastic_yolo.stream.through_services import (
    PictureRefused,
    Query,
    ServiceFailed,
    ThroughServices,
)
from tests.support.scripted_server import Response, serve

SCENE = ROOT / "client" / "images" / "scene-01.jpg"
TOKEN = "token-of-the-tests-0123"  # noqa: S105


@pytest.fixture
def services(demo_stack: Stack) -> Iterator[ThroughServices]:
    """A client of the services with the embedded model."""
    through = ThroughServices(demo_stack.web.url, Query(), None, newest_only=False)
    yield through
    through.close()


def labels(found: object) -> list[str]:
    return [item.label for item in found.detections]  # type: ignore[attr-defined]


def test_a_picture_has_the_detections_of_the_services(services: ThroughServices) -> None:
    answer = services.submit(SCENE.read_bytes()).result(60)

    model = Detector.load(DEMO_MODEL).model
    assert answer.size == (640, 480)
    assert (answer.model["name"], answer.model["digest"]) == (model.name, model.digest)
    assert labels(answer)[0] == "airplane"


def test_a_frame_is_sent_as_a_jpeg(services: ThroughServices) -> None:
    bgr = cv2.imread(str(SCENE))
    assert bgr is not None

    frames = Frame(bgr, is_bgr=True), Frame(bgr[:, :, ::-1], is_bgr=False)
    answers = [services.submit(frame).result(60) for frame in frames]

    expected = labels(services.submit(SCENE.read_bytes()).result(60))
    assert [labels(answer) for answer in answers] == [expected, expected]


def test_the_threshold_is_sent(demo_stack: Stack) -> None:
    all_of_them = ThroughServices(
        demo_stack.web.url, Query(threshold=0.01), None, newest_only=False
    )
    few = ThroughServices(demo_stack.web.url, Query(threshold=0.9999), None, newest_only=False)

    counts = [
        len(one.submit(SCENE.read_bytes()).result(60).detections) for one in (all_of_them, few)
    ]
    all_of_them.close()
    few.close()

    assert counts[0] > counts[1]


def test_a_bad_picture_is_the_pictures_fault(services: ThroughServices) -> None:
    truncated = SCENE.read_bytes()[:20_000]

    for content in (b"text", b"", truncated):
        with pytest.raises(PictureError):
            services.submit(content).result(60)
    with pytest.raises(PictureRefused, match="422: "):
        services.submit(truncated).result(60)


def test_an_unknown_model_and_a_wrong_token_end_the_stream(
    demo_stack: Stack, tmp_path: Path
) -> None:
    unknown = ThroughServices(demo_stack.web.url, Query(model="other"), None, newest_only=False)
    with pytest.raises(Refused, match="404: "):
        unknown.submit(SCENE.read_bytes()).result(60)
    unknown.close()

    with Stack(model=DEMO_MODEL, logs=tmp_path, env={"web": {"ACCESS_TOKEN": TOKEN}}) as stack:
        for token, fails in ((None, True), ("wrong-token-0123456789", True), (TOKEN, False)):
            through = ThroughServices(stack.web.url, Query(), token, newest_only=False)
            answer = through.submit(SCENE.read_bytes())
            if fails:
                with pytest.raises(Refused, match="401: "):
                    answer.result(60)
            else:
                assert labels(answer.result(60))
            through.close()


def test_services_that_are_away_are_waited_for_until_the_end() -> None:
    through = ThroughServices(f"http://127.0.0.1:{free_port()}", Query(), None, newest_only=False)
    answer = through.submit(SCENE.read_bytes())

    through.close()

    with pytest.raises(Unavailable):
        answer.result(60)


VALID = json.dumps(
    {
        "data": [["square", 0.9, [1.0, 2.0, 3.0, 4.0]]],
        "image": {"width": 64, "height": 48},
        "model": {"name": "tiny", "version": "1", "digest": "sha256:a"},
    }
).encode()
ANSWER = Response(body=VALID)


@contextmanager
def answering(*responses: Response, token: str | None = None) -> Iterator[ThroughServices]:
    """Send to a server that gives these responses, the last one again and again."""
    with serve(*responses) as server:
        through = ThroughServices(server.url, Query(), token, newest_only=False)
        yield through
        through.close()


@pytest.mark.parametrize("status", [0, 408, 429, 500, 502, 503, 504])
def test_a_failure_of_the_services_is_not_the_pictures_fault(status: int) -> None:
    """The picture and a plain one fail; a moment later all is well."""
    failure = Response(status, b"")
    with answering(failure, failure, ANSWER) as through:
        assert through.submit(SCENE.read_bytes()).result(60).size == (64, 48)


@pytest.mark.parametrize("status", [0, 500, 502, 504])
def test_a_failure_with_one_picture_only_is_reported_as_an_attempt(status: int) -> None:
    with answering(Response(status, b""), ANSWER) as through, pytest.raises(ServiceFailed):
        through.submit(SCENE.read_bytes()).result(60)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (Response(400, b""), "refuses every picture: 400"),
        (Response(422, b'{"detail": "unknown parameter"}'), "422: unknown parameter"),
        (Response(418, b""), "refuses every picture: 418"),
        (Response(301, b"", {"Location": "https://other/"}), "301"),
        (Response(200, b"<html>Log in</html>"), "not the web of elastic-yolo"),
        (Response(200, b'{"data": []}'), "not the web of elastic-yolo"),
    ],
)
def test_a_url_that_serves_no_picture_ends_the_stream_and_rejects_none(
    response: Response, expected: str
) -> None:
    with answering(response) as through, pytest.raises(Refused, match=expected):
        through.submit(SCENE.read_bytes()).result(60)


@pytest.mark.parametrize(
    "url", ["", "web", "web:5000", "127.0.0.1:5000", "ftp://web/", "http://", "http://[::1"]
)
def test_a_url_that_is_none_is_wrong_usage(url: str) -> None:
    with pytest.raises(BadAddress, match="--url http://HOST:PORT"):
        ThroughServices(url, Query(), None, newest_only=False)


def test_messages_name_neither_user_nor_password() -> None:
    with serve(Response(401, b"")) as server:
        url = server.url.replace("://", "://user:hidden@")
        through = ThroughServices(url, Query(), None, newest_only=False)
        with pytest.raises(Refused) as refused:
            through.submit(SCENE.read_bytes()).result(60)
        through.close()

    assert "hidden" not in str(refused.value)
    assert "user" not in str(refused.value)


def test_a_token_may_end_with_a_newline_and_has_no_other_control_characters() -> None:
    with answering(ANSWER, token=f"{TOKEN}\n") as through:
        assert through.submit(SCENE.read_bytes()).result(60).size == (64, 48)

    for token in (f"{TOKEN}\nX: y", f"{TOKEN}\u20ac"):
        with pytest.raises(BadAddress, match="ACCESS_TOKEN"):
            ThroughServices("http://web", Query(), token, newest_only=False)


def test_a_request_that_hangs_does_not_delay_the_end() -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        url = f"http://{LOOPBACK}:{silent.getsockname()[1]}"
        through = ThroughServices(url, Query(), None, newest_only=False)
        through.submit(SCENE.read_bytes())
        connection, _ = silent.accept()

        began_at = time.monotonic()
        through.close()

        # The request itself may take a minute.
        assert time.monotonic() - began_at < 30
        connection.close()


def test_more_pictures_than_the_services_take_at_once_are_all_answered(
    demo_stack: Stack,
) -> None:
    """Web refuses some with 429; they are sent again."""
    many = [ThroughServices(demo_stack.web.url, Query(), None, newest_only=False) for _ in range(4)]
    content = SCENE.read_bytes()

    answers = [one.submit(content) for one in many for _ in range(16)]
    sizes = {answer.result(120).size for answer in answers}
    for one in many:
        one.close()

    assert sizes == {(640, 480)}
