"""Picture files as input of inference, which decodes them; boxes in pixels of the picture."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.detector.boxes import centre_boxes
from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.loading import load_detector
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT, Service, free_port
from services.common.request.errors import MalformedRequest
from services.inference.elements import split_elements
from tests.support.open_inference import picture_body, picture_json, pixel_body, read_outputs
from tests.support.pictures import FORMATS, encode, plain
from tests.support.raw import status_without_body
from tests.support.tiny import SCORE, write_tiny_model

INFER = "/v2/models/tiny/infer"
MAX_PIXELS = 250_000
TOKEN = "a long enough token"  # noqa: S105
# The tiny network has two cells of 32x32 pixels, with a box of 16x8 in the middle of each.
NETWORK = [[8, 12, 24, 20], [40, 12, 56, 20]]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("pictures")
    stretched = write_tiny_model(
        folder / "stretched", width=64, manifest="name: stretched\nresize: stretch\n"
    )
    env = {
        "MODEL_PATH": str(write_tiny_model(folder / "model", width=64)),
        "MODEL_B_PATH": str(stretched),
        "MAX_BATCH": "4",
        "MAX_PIXELS": str(MAX_PIXELS),
        "THREADS": "1",
    }
    with Service("inference", free_port(), env, folder / "log") as running:
        running.wait_ready()
        yield running


@pytest.fixture(scope="module")
def api(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=60) as client:
        yield client


def send(api: httpx.Client, *pictures: bytes, path: str = INFER, **members: Any) -> httpx.Response:
    content, headers = picture_body(pictures, **members)
    return api.post(path, content=content, headers=headers)


def boxes(response: httpx.Response) -> list[list[float]]:
    """Return the corners of all boxes from left to right, rounded to hundredths of a pixel."""
    rows = read_outputs(response)["detections"]
    assert rows[:, 4] == pytest.approx([SCORE] * len(rows), abs=1e-5)
    return sorted(np.round(rows[:, :4].astype(float), 2).tolist())


def scaled(x: float, y: float, right: float = 0, down: float = 0) -> list[list[float]]:
    return [
        [x1 * x + right, y1 * y + down, x2 * x + right, y2 * y + down] for x1, y1, x2, y2 in NETWORK
    ]


@pytest.mark.parametrize("kind", FORMATS)
def test_boxes_are_in_pixels_of_the_picture(api: httpx.Client, kind: str) -> None:
    """128x64 pixels are shown to the network at half their size."""
    response = send(api, encode(plain(128, 64), kind))

    assert boxes(response) == scaled(2, 2)
    assert read_outputs(response)["counts"].tolist() == [2]


def test_a_letterbox_has_margins_and_a_stretched_picture_has_none(api: httpx.Client) -> None:
    """64x64 pixels take the middle half of a letterbox of 64x32."""
    square = encode(plain(64, 64))
    letterboxed = send(api, square)
    stretched = send(api, square, path="/v2/models/stretched/infer")

    assert boxes(letterboxed) == scaled(2, 2, right=-32)
    assert boxes(stretched) == scaled(1, 2)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_in_the_upright_picture(api: httpx.Client, orientation: int) -> None:
    """From orientation 5 on, the stored picture lies on its side."""
    stored = plain(128, 64) if orientation < 5 else plain(64, 128)

    assert boxes(send(api, encode(stored, "JPEG", orientation))) == scaled(2, 2)


def test_a_request_may_hold_pictures_of_several_sizes_and_formats(api: httpx.Client) -> None:
    pictures = [
        encode(plain(64, 32), "JPEG"),
        encode(plain(128, 64), "PNG"),
        encode(plain(256, 128), "BMP"),
    ]
    outputs = read_outputs(send(api, *pictures))

    assert outputs["counts"].tolist() == [2, 2, 2]
    for number, factor in enumerate((1, 2, 4)):
        rows = outputs["detections"][2 * number : 2 * number + 2, :4]
        assert sorted(rows.tolist()) == scaled(factor, factor)


def test_pictures_in_json_are_base64(api: httpx.Client) -> None:
    pictures = [encode(plain(64, 32)), encode(plain(128, 64))]
    binary = send(api, *pictures)

    for nested in (False, True):
        response = api.post(INFER, json=picture_json(pictures, nested=nested))
        assert response.json()["outputs"] == binary.json()["outputs"]


def test_a_column_of_pictures_is_accepted(api: httpx.Client) -> None:
    """perf_analyzer, and clients of models with a batch dimension, send [n, 1]."""
    picture = encode(plain(64, 32))
    content, headers = picture_body([picture] * 2, shape=[2, 1])

    found = read_outputs(api.post(INFER, content=content, headers=headers))
    assert found["counts"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("coding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_a_compressed_request_with_pictures_is_read(
    api: httpx.Client, coding: str, compress: Any
) -> None:
    content, headers = picture_body([encode(plain(64, 32), "BMP")])
    headers["Content-Encoding"] = coding

    response = api.post(INFER, content=compress(content), headers=headers)
    assert boxes(response) == scaled(1, 1)


def test_threshold_outputs_and_id_apply_to_pictures(api: httpx.Client) -> None:
    picture = encode(plain(64, 32))
    response = send(
        api,
        picture,
        id="mine",
        parameters={"threshold": 0.99},
        outputs=[{"name": "counts"}],
    )

    assert response.json()["id"] == "mine"
    assert [(one["name"], one["data"]) for one in response.json()["outputs"]] == [("counts", [0])]


@pytest.mark.parametrize(
    ("size", "phases"),
    [
        # A small picture is decoded by the thread that runs the network, when it runs.
        ((64, 32), ["queue", "decode", "letterbox", "engine", "heads"]),
        # A large one is decoded within the limit on memory, by threads of its own.
        ((640, 320), ["decode_queue", "decode", "letterbox", "queue", "engine", "heads"]),
    ],
)
def test_the_phases_of_a_picture_are_in_server_timing(
    api: httpx.Client, size: tuple[int, int], phases: list[str]
) -> None:
    timing = send(api, encode(plain(*size))).headers["Server-Timing"]

    names = [entry.split(";")[0] for entry in timing.split(", ")]
    assert names == ["inference", *phases]
    metrics = api.get("/metrics").text
    assert 'queue_limit{queue="decode_queue",service="inference"} 128.0' in metrics


PNG = encode(plain(64, 32))


@pytest.mark.parametrize(
    ("pictures", "status", "detail"),
    [
        ([b""], 415, "not an accepted picture format"),
        ([b"GIF89a" + bytes(30)], 415, "found a GIF"),
        ([PNG, b"text"], 415, "not an accepted picture format"),
        ([encode(plain(300, 200), "JPEG")[:-400]], 422, "the JPEG file is truncated or damaged"),
        ([PNG, PNG[:-30], PNG], 422, "the PNG file is truncated"),
        ([encode(plain(501, 500))], 413, "the picture has 250,500 pixels"),
        ([PNG] * 5, 422, "expected 1 to 4 pictures"),
        ([], 422, "expected 1 to 4 pictures"),
    ],
)
def test_an_error_of_a_picture_has_the_status_that_it_has_everywhere(
    api: httpx.Client, pictures: list[bytes], status: int, detail: str
) -> None:
    refused = send(api, *pictures)

    assert refused.status_code == status
    assert re.search(detail, refused.json()["error"])


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"shape": [1, 2]}, "expected shape [n] or [n, 1] of datatype BYTES"),
        ({"shape": []}, "expected shape [n] or [n, 1] of datatype BYTES"),
        ({"shape": None}, "expected shape [n] or [n, 1] of datatype BYTES, shape is null"),
        ({"shape": [2]}, "images: expected 2 strings of base64 as data"),
        ({"data": None}, "images: expected 1 strings of base64 as data, data is null"),
        ({"data": [7]}, "images: expected strings of base64 as data"),
        ({"data": ["no base64!"]}, "images: expected strings of base64 as data"),
        ({"data": ["ü"]}, "images: expected strings of base64 as data"),
    ],
)
def test_a_malformed_tensor_of_pictures_gets_an_explanation(
    api: httpx.Client, changes: dict[str, Any], detail: str
) -> None:
    request = picture_json([PNG])
    request["inputs"][0] |= changes
    refused = api.post(INFER, json=request)

    assert refused.status_code == 400
    assert detail in refused.json()["error"]


def test_elements_that_do_not_fill_the_binary_data_get_an_explanation(api: httpx.Client) -> None:
    content, headers = picture_body([PNG], shape=[2])
    refused = api.post(INFER, content=content, headers=headers)

    assert refused.status_code == 400
    assert refused.json()["error"].startswith(
        "images: expected 2 elements with a 4-byte little-endian length before each; they do not"
    )


def test_a_resize_rule_is_of_pixels_only(api: httpx.Client) -> None:
    refused = send(api, PNG, parameters={"resize": "letterbox"})

    assert refused.status_code == 400
    assert "picture files are resized as the model requires" in refused.json()["error"]


@pytest.mark.parametrize(("head", "limit"), [("", 26_800_000), ("{header}: 100\r\n", 20_100_000)])
def test_pictures_of_more_than_twenty_megabytes_are_refused_by_their_length(
    service: Service, head: str, limit: int
) -> None:
    head = head.format(header="Inference-Header-Content-Length")

    assert status_without_body(service, INFER, limit, head) == 413


def test_pictures_are_counted_like_pixels(api: httpx.Client) -> None:
    """Drift, and everything else that sees the network's input and what was found in it."""

    def counted() -> dict[str, float]:
        lines = api.get("/metrics").text.splitlines()
        return {
            line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith(("elastic_yolo_detections_total", "elastic_yolo_picture_brightness"))
            and 'model="tiny"' in line
        }

    def grown(send_it: Any) -> dict[str, float]:
        before = counted()
        assert send_it().status_code == 200
        return {name: value - before.get(name, 0) for name, value in counted().items()}

    grey = plain(64, 32, (128, 128, 128))
    content, headers = pixel_body(grey[np.newaxis])
    of_files = grown(lambda: send(api, encode(grey)))
    of_pixels = grown(lambda: api.post(INFER, content=content, headers=headers))

    assert of_files == of_pixels
    assert sum(of_files.values()) > 0


@pytest.mark.parametrize("name", ["scene-01.jpg", "scene-02.jpg"])
def test_detections_agree_with_the_library(demo: tuple[httpx.Client, Any], name: str) -> None:
    """The same engine and precision: only the order of additions may differ."""
    api, detector = demo
    picture = (ROOT / "client" / "images" / name).read_bytes()
    expected = detector.detect(picture)

    model = detector.model.name
    response = send(api, picture, path=f"/v2/models/{model}/infer")
    rows = read_outputs(response)["detections"]

    labels = response.json()["parameters"]["labels"]
    assert expected
    assert [labels[str(int(row[5]))] for row in rows] == [one.label for one in expected]
    assert rows[:, 4] == pytest.approx([one.score for one in expected], abs=1e-3)
    for box, one in zip(centre_boxes(rows), expected, strict=True):
        assert box == pytest.approx(one.box, abs=0.1)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Any]]:
    """The embedded model as a service and in this process."""
    detector, _ = load_detector(DEMO_MODEL, EngineOptions(1, "openvino", "fp32", "cpu"))
    env = {"MODEL_PATH": str(DEMO_MODEL), "PRECISION": "fp32", "ENGINE": "openvino"}
    log = tmp_path_factory.mktemp("demo") / "log"
    with Service("inference", free_port(), env, log) as running:
        running.wait_ready()
        with httpx.Client(base_url=running.url, timeout=60) as client:
            yield client, detector


def test_a_picture_is_prepared_for_the_version_that_responds(tmp_path: Path) -> None:
    """Two versions of one model may differ in size and resize rule while one replaces the other."""
    folder = tmp_path / "model"
    write_tiny_model(folder, width=64, manifest="version: '1'\n")
    env = {"MODEL_PATH": str(folder), "REPOSITORY_TOKEN": TOKEN}
    picture = encode(plain(96, 96))
    with Service("inference", free_port(), env, tmp_path / "log") as running:
        running.wait_ready()
        with httpx.Client(base_url=running.url, timeout=60) as client:
            write_tiny_model(folder, width=96, manifest="version: '2'\nresize: stretch\n")
            client.post(
                "/v2/repository/models/tiny/load", headers={"Authorization": f"Bearer {TOKEN}"}
            ).raise_for_status()
            old, new, any_version = (
                send(client, picture, path=f"/v2/models/tiny{version}/infer")
                for version in ("/versions/1", "/versions/2", "")
            )

    # Of the old one, the picture takes 32x32 pixels in the middle of 64x32.
    assert boxes(old) == scaled(3, 3, right=-48)
    assert boxes(new) == [[8 + 32 * n, 36, 24 + 32 * n, 60] for n in range(3)]
    assert any_version.json()["model_version"] == "2"
    assert boxes(any_version) == boxes(new)


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_joined_elements_are_split_again(elements: list[bytes]) -> None:
    raw = b"".join(len(one).to_bytes(4, "little") + one for one in elements)

    assert split_elements(memoryview(raw), len(elements)) == tuple(elements)
    for wrong in (raw + b"\0", raw[:-1]):
        if wrong != raw:
            with pytest.raises(MalformedRequest):
                split_elements(memoryview(wrong), len(elements))


@given(st.binary(max_size=60), st.integers(0, 5))
def test_any_binary_data_is_split_or_refused(raw: bytes, count: int) -> None:
    try:
        elements = split_elements(memoryview(raw), count)
    except MalformedRequest:
        return
    assert b"".join(len(one).to_bytes(4, "little") + one for one in elements) == raw
