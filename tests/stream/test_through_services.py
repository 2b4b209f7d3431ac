"""Detection by the three services, which run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.inputs import Frame
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT, Stack, free_port
from elastic_yolo.picture.errors import PictureError
from elastic_yolo.stream.errors import Refused, Unavailable
from elastic_yolo.stream.through_services import PictureRefused, Query, ThroughServices

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
