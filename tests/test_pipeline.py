"""Real pictures in the three real services with the embedded model."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from client.client import find_fault, list_pictures
from client.truth import iou, read_truth
from elastic_yolo.detector.boxes import Detection, name_detections
from elastic_yolo.detector.decode import decode
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.loading import load_detector
from elastic_yolo.detector.placement import Placement, draw_input
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT, Stack
from elastic_yolo.picture.header import ACCEPTED, read_header

IMAGES = ROOT / "client" / "images"
TRUTH = read_truth(IMAGES / "truth.json")
PICTURES = list_pictures(IMAGES)
HEADERS = {path: read_header(path.read_bytes()) for path in PICTURES}
JPEGS = [path for path in PICTURES if path.suffix == ".jpg"]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector(DEMO_MODEL, EngineOptions(threads=2))[0]


def send(web: httpx.Client, path: Path, **headers: str) -> httpx.Response:
    return web.post("/inference", files={"image": (path.name, path.read_bytes())}, headers=headers)


def test_the_sample_pictures_cover_formats_sizes_and_rotation() -> None:
    """Four formats, an Exif rotation, twelve megapixels, small ones, landscape and portrait."""
    headers = list(HEADERS.values())

    assert len(PICTURES) >= 12
    assert {header.media_type for header in headers} == set(ACCEPTED)
    assert any(header.orientation > 1 for header in headers)
    assert any(header.width * header.height >= 12_000_000 for header in headers)
    assert min(header.width for header in headers) <= 300
    assert {header.width > header.height for header in headers} == {True, False}
    assert set(TRUTH) == {path.name for path in PICTURES}


def test_four_of_five_objects_are_found_where_they_are(web: httpx.Client) -> None:
    objects = found = 0
    for path in PICTURES:
        answer = send(web, path).json()
        assert find_fault(answer) is None
        objects += len(TRUTH[path.name].objects)
        found += TRUTH[path.name].count_found(answer["data"])

    assert objects >= 40
    assert found / objects >= 0.8


def test_sizes_are_those_of_the_upright_picture(web: httpx.Client) -> None:
    truth = json.loads((IMAGES / "truth.json").read_text())
    for path in PICTURES:
        expected = {"width": truth[path.name]["width"], "height": truth[path.name]["height"]}
        assert send(web, path).json()["image"] == expected, path.name


def test_three_services_return_what_one_process_returns(
    web: httpx.Client, detector: Detector
) -> None:
    for path in PICTURES[:6]:
        alone = detector.detect(path.read_bytes())

        answer = send(web, path).json()["data"]

        expected = [[found.label, found.score, list(found.box)] for found in alone]
        assert answer == expected, path.name


def test_a_raw_body_is_processed_like_a_form(web: httpx.Client) -> None:
    picture = PICTURES[0].read_bytes()

    raw = web.post("/inference", content=picture, headers={"Content-Type": "image/jpeg"})

    assert raw.json()["data"] == send(web, PICTURES[0]).json()["data"]


def test_the_callers_threshold_and_model_are_used(web: httpx.Client) -> None:
    picture = {"image": PICTURES[0].read_bytes()}

    few = web.post("/inference", files=picture, params={"threshold": 0.9}).json()
    many = web.post("/inference", files=picture, params={"threshold": 0.05}).json()
    named = web.post("/inference", files=picture, params={"model": few["model"]["name"]})

    assert all(score > 0.9 for _, score, _ in few["data"])
    assert len(many["data"]) > len(few["data"])
    assert named.status_code == 200


def test_best_scores_come_first(web: httpx.Client) -> None:
    for path in PICTURES[:4]:
        scores = [score for _, score, _ in send(web, path).json()["data"]]

        assert scores == sorted(scores, reverse=True)


def test_the_response_has_the_callers_request_id(web: httpx.Client) -> None:
    sent = "0123456789abcdef0123456789abcdef"

    answer = send(web, PICTURES[0], **{"X-Request-ID": sent})

    assert answer.headers["X-Request-ID"] == answer.json()["uid"] == sent


def test_server_timing_shows_every_tier(web: httpx.Client) -> None:
    header = send(web, PICTURES[0]).headers["Server-Timing"]

    entries = {name: float(ms) for name, ms in re.findall(r"(\w+);dur=([0-9.]+)", header)}
    names = {"web", "preprocess", "inference", "decode", "letterbox", "queue", "engine", "heads"}
    assert names <= entries.keys()
    assert 0 < entries["engine"] <= entries["inference"]
    assert 0 < entries["decode"] <= entries["preprocess"]


@pytest.mark.parametrize(("accept", "kind"), [("image/jpeg", "JPEG"), ("image/png", "PNG")])
def test_accept_selects_a_picture_with_boxes(web: httpx.Client, accept: str, kind: str) -> None:
    """Drawn upright, as large as the original, and different from it where a box is."""
    rotated = next(path for path, header in HEADERS.items() if header.orientation > 1)
    answer = send(web, rotated).json()

    drawn = Image.open(io.BytesIO(send(web, rotated, Accept=accept).content))

    assert drawn.format == kind
    assert drawn.size == (answer["image"]["width"], answer["image"]["height"])


@pytest.mark.parametrize("name", ["web", "preprocess", "inference"])
def test_every_service_has_the_common_routes(demo_stack: Stack, name: str) -> None:
    url = getattr(demo_stack, name).url

    assert httpx.get(f"{url}/livez").json() == {"status": "alive"}
    assert httpx.get(f"{url}/readyz").json() == {"status": "ready"}
    assert httpx.get(f"{url}/health/ping").json() == "pong"
    assert httpx.get(f"{url}/docs").status_code == 200
    assert httpx.get(f"{url}/openapi.json").json()["info"]["title"] == f"elastic-yolo {name}"
    metrics = httpx.get(f"{url}/metrics").text
    assert (
        f'elastic_yolo_requests_total{{method="GET",route="/livez",service="{name}",status="200"}}'
        in metrics
    )


@pytest.mark.parametrize("name", ["web", "preprocess", "inference"])
def test_health_status_runs_a_real_prediction(demo_stack: Stack, name: str) -> None:
    """On the golden picture, whose detections are in model.yaml."""
    status = httpx.get(f"{getattr(demo_stack, name).url}/health/status", timeout=60).json()

    assert status["status"] == "ok"
    assert len(status["found"]) >= 2
    assert status["model"]["name"] == "yolov3-tiny-emoji"


def test_probes_respond_while_the_engine_is_busy(demo_stack: Stack, web: httpx.Client) -> None:
    """On connections of their own, so that none waits for another."""
    with httpx.Client() as other:
        for path in PICTURES[:3]:
            assert send(web, path).status_code == 200
            assert other.get(f"{demo_stack.inference.url}/livez").status_code == 200


def match(found: Detection, others: list[Detection]) -> Detection | None:
    same = [other for other in others if other.label == found.label]
    return max(same, key=lambda o: iou(list(o.box), list(found.box)), default=None)


@pytest.mark.parametrize("path", JPEGS, ids=lambda path: path.name)
def test_reduced_decoding_stays_within_its_tolerance(detector: Detector, path: Path) -> None:
    """docs/accuracy.md: score within 0.1, overlap at least 0.9, for what scores 0.6 or more."""
    data = path.read_bytes()
    header = HEADERS[path]
    place = Placement.fit(header.upright_size, detector.model.input_format)
    image = draw_input(decode(data, header), header.orientation, place)
    rows = detector.postprocess(detector.execute(image[np.newaxis]), 0.5, 0.45)[0]
    whole = name_detections(place.to_picture(rows), detector.model.labels)

    reduced = detector.detect(data, threshold=0.3)

    for found in whole:
        if found.score >= 0.6:
            twin = match(found, reduced)
            assert twin is not None, found
            assert abs(twin.score - found.score) <= 0.1, (found, twin)
            assert iou(list(twin.box), list(found.box)) >= 0.9, (found, twin)


def test_the_page_has_a_file_chooser_and_loads_nothing_external(web: httpx.Client) -> None:
    page = web.get("/")

    assert '<input id="file" type="file"' in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.text.replace("http://www.w3.org", "")
