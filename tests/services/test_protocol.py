"""The Open Inference Protocol v2 of the inference service, over real sockets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from elastic_yolo.lab.processes.stack import Service, free_port
from services.inference.protocol import HEADER_LENGTH
from tests.support.pictures import encode, plain
from tests.support.tiny import SCORE, write_tiny_model

WIDTH, HEIGHT = 64, 32
INFER = "/v2/models/tiny/infer"
IMAGES = np.zeros((2, HEIGHT, WIDTH, 3), np.uint8)
TENSOR = {"name": "images", "datatype": "UINT8", "shape": list(IMAGES.shape)}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("protocol")
    model = write_tiny_model(folder / "model", width=WIDTH, height=HEIGHT)
    env = {"MODEL_PATH": str(model), "MAX_BATCH": "4"}
    with Service("inference", free_port(), env, folder / "inference.log") as service:
        service.wait_ready()
        with httpx.Client(base_url=service.url, timeout=20) as client:
            yield client


def as_json(**changes: Any) -> dict[str, Any]:
    tensor = {**TENSOR, "data": IMAGES.ravel().tolist(), **changes.pop("tensor", {})}
    return {"inputs": [tensor], **changes}


def as_binary(images: np.ndarray = IMAGES, **changes: Any) -> tuple[bytes, dict[str, str]]:
    parameters = {"binary_data_size": images.nbytes}
    tensor = {**TENSOR, "shape": list(images.shape), "parameters": parameters}
    head = json.dumps({"inputs": [tensor], **changes}).encode()
    return head + images.tobytes(), {HEADER_LENGTH: str(len(head))}


def test_server_metadata_names_the_extensions(api: httpx.Client) -> None:
    server = api.get("/v2").json()

    assert server["name"] == "elastic-yolo"
    assert server["extensions"] == ["binary_tensor_data"]
    assert server["models"] == ["tiny"]


def test_health_routes_answer(api: httpx.Client) -> None:
    assert api.get("/v2/health/live").json() == {"live": True}
    assert api.get("/v2/health/ready").json() == {"ready": True}
    assert api.get("/v2/models/tiny/ready").json() == {"name": "tiny", "ready": True}
    assert api.get("/v2/models/tiny/versions/1/ready").status_code == 200


@pytest.mark.parametrize("path", ["/v2/models/tiny", "/v2/models/tiny/versions/1"])
def test_model_metadata_describes_inputs_and_outputs(api: httpx.Client, path: str) -> None:
    model = api.get(path).json()

    assert model["inputs"] == [
        {"name": "images", "datatype": "UINT8", "shape": [-1, HEIGHT, WIDTH, 3]}
    ]
    assert [output["name"] for output in model["outputs"]] == ["detections", "counts"]
    assert model["parameters"]["labels"] == ["square", "circle"]
    assert model["parameters"]["digest"].startswith("sha256:")


def test_json_in_json_out(api: httpx.Client) -> None:
    """Two pictures of two cells each: four boxes, 16x8 pixels in the middle of their cells."""
    answer = api.post(INFER, json=as_json(id="mine")).json()

    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("mine", "tiny", "1")
    detections, counts = answer["outputs"]
    assert counts["data"] == [2, 2]
    assert detections["shape"] == [4, 6]
    rows = np.reshape(detections["data"], (4, 6))
    assert rows[:, 5].tolist() == [0, 0, 0, 0]
    assert rows[:, 4] == pytest.approx([SCORE] * 4, abs=1e-5)
    assert sorted(rows[:2, :4].tolist()) == [[8, 12, 24, 20], [40, 12, 56, 20]]


def test_nested_lists_are_taken_as_well(api: httpx.Client) -> None:
    answer = api.post(INFER, json=as_json(tensor={"data": IMAGES.tolist()}))

    assert answer.json()["outputs"][1]["data"] == [2, 2]


def test_binary_in_binary_out(api: httpx.Client) -> None:
    body, headers = as_binary(parameters={"binary_data_output": True})

    answer = api.post(INFER, content=body, headers=headers)

    length = int(answer.headers[HEADER_LENGTH])
    detections, counts = json.loads(answer.content[:length])["outputs"]
    raw = answer.content[length:]
    size = detections["parameters"]["binary_data_size"]
    assert np.frombuffer(raw[size:], "<i8").tolist() == [2, 2]
    rows = np.frombuffer(raw[:size], "<f4").reshape(4, 6)
    assert rows[:, 4] == pytest.approx([SCORE] * 4, abs=1e-5)
    assert counts["parameters"]["binary_data_size"] == 16


def test_fractions_of_a_pixel_are_taken_as_fp32(api: httpx.Client) -> None:
    exact = IMAGES.astype("<f4") + np.float32(0.25)
    tensor = {**TENSOR, "datatype": "FP32", "parameters": {"binary_data_size": exact.nbytes}}
    head = json.dumps({"inputs": [tensor]}).encode()

    answer = api.post(
        INFER, content=head + exact.tobytes(), headers={HEADER_LENGTH: str(len(head))}
    )

    assert answer.json()["outputs"][1]["data"] == [2, 2]


def test_an_output_can_be_asked_for_in_binary(api: httpx.Client) -> None:
    outputs = [{"name": "detections", "parameters": {"binary_data": True}}]
    body, headers = as_binary(outputs=outputs)

    assert HEADER_LENGTH in api.post(INFER, content=body, headers=headers).headers


@pytest.mark.parametrize(("parameter", "value", "found"), [("threshold", 0.99, 0), ("iou", 1, 4)])
def test_parameters_of_a_request_count(
    api: httpx.Client, parameter: str, value: float, found: int
) -> None:
    answer = api.post(INFER, json=as_json(parameters={parameter: value}))

    assert answer.json()["outputs"][0]["shape"] == [found, 6]


@pytest.mark.parametrize(
    ("changes", "status", "detail"),
    [
        ({"inputs": []}, 400, "exactly one tensor"),
        ({"tensor": {"name": "picture"}}, 400, "expected the tensor 'images'"),
        ({"tensor": {"datatype": "INT8"}}, 400, "expected datatype UINT8 or FP32"),
        ({"tensor": {"shape": [1, 32, 32, 3]}}, 400, r"expected shape \[n, 32, 64, 3\]"),
        ({"tensor": {"shape": "all"}}, 400, "expected shape"),
        ({"tensor": {"shape": [0, 32, 64, 3]}}, 422, "expected 1 to 4 pictures"),
        ({"tensor": {"shape": [5, 32, 64, 3]}}, 422, "expected 1 to 4 pictures"),
        ({"tensor": {"data": [1, 2, 3]}}, 400, "12288 numbers from 0 to 255"),
        ({"tensor": {"data": [256] * IMAGES.size}}, 400, " numbers from 0 to 255"),
        ({"tensor": {"data": [[1], [2, 3]]}}, 400, " numbers from 0 to 255"),
        ({"tensor": {"data": None}}, 400, " numbers from 0 to 255"),
        ({"parameters": {"threshold": 1.5}}, 422, "threshold: expected a number from 0 to 1"),
        ({"parameters": {"iou": "high"}}, 422, "iou: expected a number from 0 to 1"),
        ({"parameters": []}, 400, "parameters: expected an object"),
        ({"outputs": [{"name": "boxes"}]}, 400, "expected 'detections' or 'counts'"),
        ({"id": 7}, 400, "id: expected a string"),
    ],
)
def test_a_request_that_breaks_the_protocol_is_explained(
    api: httpx.Client, changes: dict[str, Any], status: int, detail: str
) -> None:
    """Clients of the protocol look for the message under `error`."""
    answer = api.post(INFER, json=as_json(**changes))

    assert answer.status_code == status
    assert re.search(detail, answer.json()["error"])


@pytest.mark.parametrize(
    ("body", "length", "detail"),
    [
        (b"", None, "JSON cannot be parsed"),
        (b"[]", None, "no object"),
        (b"[" * 100_000, None, "JSON cannot be parsed"),
        (b'{"inputs":[{"name":"images","datatype":[]}]}', None, "expected datatype UINT8 or FP32"),
        (b"{}", "many", "expected a number of bytes"),
        (b"{}", "9" * 5000, "expected a number of bytes"),
        (b"{}", "3", "3 bytes of JSON announced, the body has 2"),
        (as_binary()[0][:-1], as_binary()[1][HEADER_LENGTH], "announced 12288, found 12287"),
    ],
)
def test_a_body_that_cannot_be_read_is_explained(
    api: httpx.Client, body: bytes, length: str | None, detail: str
) -> None:
    headers = {} if length is None else {HEADER_LENGTH: length}

    answer = api.post(INFER, content=body, headers=headers)

    assert answer.status_code == 400
    assert detail in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v2/models/other", "no model 'other' here; there is 'tiny'"),
        ("/v2/models/tiny/versions/2/ready", "no version '2' of 'tiny' here; there is '1'"),
    ],
)
def test_an_unknown_model_or_version_is_not_found(api: httpx.Client, path: str, said: str) -> None:
    answer = api.get(path)

    assert answer.status_code == 404
    assert answer.json()["error"] == said


def test_a_model_without_a_golden_picture_checks_itself_against_its_start(
    api: httpx.Client,
) -> None:
    status = api.get("/health/status").json()

    assert status["status"] == "ok"
    assert [found[0] for found in status["found"]] == ["square", "square"]


def test_a_golden_picture_with_another_answer_is_noticed(tmp_path: Path) -> None:
    """The known answer says circle; the model says square."""
    manifest = "golden:\n  picture: golden.png\n  expected:\n    - [circle, 0.9, [16, 16, 16, 8]]\n"
    model = write_tiny_model(tmp_path / "model", manifest=manifest)
    (model / "golden.png").write_bytes(encode(plain(32, 32)))
    service = Service("inference", free_port(), {"MODEL_PATH": str(model)}, tmp_path / "log")
    with service:
        service.wait_ready()
        answer = httpx.get(f"{service.url}/health/status")

    assert answer.status_code == 503
    assert "the prediction for the golden picture is wrong: no circle" in answer.json()["detail"]
