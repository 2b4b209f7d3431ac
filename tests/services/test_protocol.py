"""The Open Inference Protocol v2 of the inference service, over real sockets."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from elastic_yolo.lab.processes.stack import Service, free_port
from services.common.request.errors import MalformedRequest
from services.inference.json_numbers import to_array
from services.inference.protocol import HEADER_LENGTH, decode_request
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
        with httpx.Client(base_url=service.url, timeout=60) as client:
            yield client


def as_json(**changes: Any) -> dict[str, Any]:
    tensor = {**TENSOR, "data": IMAGES.ravel().tolist(), **changes.pop("tensor", {})}
    return {"inputs": [tensor], **changes}


def as_binary(images: np.ndarray = IMAGES, **changes: Any) -> tuple[bytes, dict[str, str]]:
    parameters = {"binary_data_size": images.nbytes}
    tensor = {**TENSOR, "shape": list(images.shape), "parameters": parameters}
    head = json.dumps({"inputs": [tensor], **changes}).encode()
    return head + images.tobytes(), {HEADER_LENGTH: str(len(head))}


def test_tensors_in_json_are_decoded_in_a_queue_of_their_own(api: httpx.Client) -> None:
    """So one body at a time, and none whose caller has left or whose time is over."""
    in_json = api.post(INFER, json=as_json())
    content, headers = as_binary()
    binary = api.post(INFER, content=content, headers=headers)

    assert "json_queue;dur=" in in_json.headers["Server-Timing"]
    assert "json_queue;dur=" not in binary.headers["Server-Timing"]
    assert 'queue_limit{queue="json_queue",service="inference"} 16.0' in api.get("/metrics").text


def test_server_metadata_names_the_extensions(api: httpx.Client) -> None:
    server = api.get("/v2").json()

    assert server["name"] == "elastic-yolo"
    assert server["extensions"] == ["binary_tensor_data", "model_configuration", "statistics"]
    assert server["models"] == ["tiny"]


def test_the_health_routes_report_ready(api: httpx.Client) -> None:
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
    assert model["parameters"]["resize"] == "letterbox"


def test_a_json_request_gets_a_json_response(api: httpx.Client) -> None:
    """Two pictures of two cells each: four boxes, 16x8 pixels in the middle of their cells."""
    response = api.post(INFER, json=as_json(id="mine")).json()

    assert (response["id"], response["model_name"], response["model_version"]) == (
        "mine",
        "tiny",
        "1",
    )
    detections, counts = response["outputs"]
    assert counts["data"] == [2, 2]
    assert detections["shape"] == [4, 6]
    rows = np.reshape(detections["data"], (4, 6))
    assert rows[:, 5].tolist() == [0, 0, 0, 0]
    assert rows[:, 4] == pytest.approx([SCORE] * 4, abs=1e-5)
    assert sorted(rows[:2, :4].tolist()) == [[8, 12, 24, 20], [40, 12, 56, 20]]


def test_nested_lists_are_accepted(api: httpx.Client) -> None:
    response = api.post(INFER, json=as_json(tensor={"data": IMAGES.tolist()}))

    assert response.json()["outputs"][1]["data"] == [2, 2]


@pytest.mark.parametrize("others", ["", 0])
def test_a_long_text_among_the_numbers_takes_no_more_memory_than_itself(others: Any) -> None:
    """NumPy would make each of the others as long: 800 MB."""
    data = ["A" * 100_000, *[others] * 2000]
    body = json.dumps(as_json(tensor={"data": data})).encode()
    tracemalloc.start()
    try:
        with pytest.raises(MalformedRequest, match="numbers from 0 to 255"):
            decode_request(body, None, [(WIDTH, HEIGHT)], 4)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 10_000_000


def test_numbers_that_are_converted_in_pieces_stay_in_their_order() -> None:
    numbers = np.arange(200_000) % 251

    assert np.array_equal(to_array(numbers.tolist()), numbers)
    assert np.array_equal(to_array(numbers.reshape(2, 500, 200).tolist()).ravel(), numbers)


def test_a_binary_request_gets_a_binary_response(api: httpx.Client) -> None:
    body, headers = as_binary(parameters={"binary_data_output": True})

    response = api.post(INFER, content=body, headers=headers)

    length = int(response.headers[HEADER_LENGTH])
    detections, counts = json.loads(response.content[:length])["outputs"]
    raw = response.content[length:]
    size = detections["parameters"]["binary_data_size"]
    assert np.frombuffer(raw[size:], "<i8").tolist() == [2, 2]
    rows = np.frombuffer(raw[:size], "<f4").reshape(4, 6)
    assert rows[:, 4] == pytest.approx([SCORE] * 4, abs=1e-5)
    assert counts["parameters"]["binary_data_size"] == 16


def test_fractional_pixel_values_are_accepted_as_fp32(api: httpx.Client) -> None:
    exact = IMAGES.astype("<f4") + np.float32(0.25)
    tensor = {**TENSOR, "datatype": "FP32", "parameters": {"binary_data_size": exact.nbytes}}
    head = json.dumps({"inputs": [tensor]}).encode()

    response = api.post(
        INFER, content=head + exact.tobytes(), headers={HEADER_LENGTH: str(len(head))}
    )

    assert response.json()["outputs"][1]["data"] == [2, 2]


def test_a_single_output_can_be_requested_in_binary(api: httpx.Client) -> None:
    outputs = [{"name": "detections", "parameters": {"binary_data": True}}]
    body, headers = as_binary(outputs=outputs)

    assert HEADER_LENGTH in api.post(INFER, content=body, headers=headers).headers


@pytest.mark.parametrize("path", [INFER, "/v2/models/tiny/versions/1/infer"])
def test_the_resize_rule_of_a_request_is_checked_if_it_is_stated(
    api: httpx.Client, path: str
) -> None:
    """A client of others states none, and is served by the size of its pictures."""
    rules = (None, "letterbox", "stretch")

    answers = [api.post(path, json=as_json(parameters={"resize": rule})) for rule in rules]

    assert [answer.status_code for answer in answers] == [200, 200, 400]
    assert "64x32 stretch" in answers[2].json()["detail"]


@pytest.mark.parametrize(("parameter", "value", "found"), [("threshold", 0.99, 0), ("iou", 1, 4)])
def test_threshold_and_iou_of_a_request_apply(
    api: httpx.Client, parameter: str, value: float, found: int
) -> None:
    response = api.post(INFER, json=as_json(parameters={parameter: value}))

    assert response.json()["outputs"][0]["shape"] == [found, 6]


@pytest.mark.parametrize(
    ("changes", "status", "detail"),
    [
        ({"inputs": []}, 400, "exactly one tensor"),
        ({"tensor": {"name": "picture"}}, 400, "expected the tensor 'images'"),
        ({"tensor": {"datatype": "INT8"}}, 400, "expected datatype UINT8, FP32 or BYTES"),
        ({"tensor": {"shape": [1, 32, 32, 3]}}, 400, r"expected shape \[n, 32, 64, 3\]"),
        ({"tensor": {"shape": "all"}}, 400, "expected shape"),
        ({"tensor": {"shape": [0, 32, 64, 3]}}, 422, "expected 1 to 4 pictures"),
        ({"tensor": {"shape": [5, 32, 64, 3]}}, 422, "expected 1 to 4 pictures"),
        ({"tensor": {"data": [1, 2, 3]}}, 400, "12288 numbers from 0 to 255"),
        ({"tensor": {"data": [256] * IMAGES.size}}, 400, " numbers from 0 to 255"),
        ({"tensor": {"data": [[1], [2, 3]]}}, 400, " numbers from 0 to 255"),
        ({"tensor": {"data": None}}, 400, " numbers from 0 to 255"),
        ({"tensor": {"data": []}}, 400, " numbers from 0 to 255"),
        ({"tensor": {"data": ["0"] * IMAGES.size}}, 400, " numbers from 0 to 255"),
        ({"tensor": {"data": [True] * IMAGES.size}}, 400, " numbers from 0 to 255"),
        ({"tensor": {"data": [IMAGES.tolist()]}}, 400, " numbers from 0 to 255"),
        ({"parameters": {"threshold": 1.5}}, 422, "threshold: expected a number from 0 to 1"),
        ({"parameters": {"iou": "high"}}, 422, "iou: expected a number from 0 to 1"),
        ({"parameters": {"resize": "crop"}}, 422, "resize: expected letterbox or stretch"),
        ({"parameters": {"resize": ["stretch"]}}, 422, "resize: expected letterbox or stretch"),
        (
            {"parameters": {"resize": "stretch"}},
            400,
            "of 64x32 stretch are not accepted; send 64x3",
        ),
        ({"parameters": []}, 400, "parameters: expected an object"),
        ({"outputs": [{"name": "boxes"}]}, 400, "expected 'detections' or 'counts'"),
        ({"id": 7}, 400, "id: expected a string"),
    ],
)
def test_an_invalid_request_gets_an_explanation(
    api: httpx.Client, changes: dict[str, Any], status: int, detail: str
) -> None:
    """Clients of the protocol read the message from `error`."""
    response = api.post(INFER, json=as_json(**changes))

    assert response.status_code == status
    assert re.search(detail, response.json()["error"])


@pytest.mark.parametrize(
    ("body", "length", "detail"),
    [
        (b"", None, "the body is not JSON: a picture file is an element of a BYTES tensor"),
        (b"[]", None, "JSON is not an object"),
        (b"[" * 100_000, None, "the body is not JSON"),
        (
            b'{"inputs":[{"name":"images","datatype":[]}]}',
            None,
            "expected datatype UINT8, FP32 or BYTES",
        ),
        (
            b'{"inputs":[]}' + bytes(3),
            None,
            "binary data behind the JSON needs the header Inference",
        ),
        (
            b'{"inputs":[]}',
            "5",
            "the first 5 bytes, as Inference-Header-Content-Length says, are not",
        ),
        (b"{}", "many", "expected the length of the JSON in bytes"),
        (b"{}", "9" * 5000, "expected the length of the JSON in bytes"),
        (b"{}", "3", "is 3 bytes, and the body has 2"),
        (
            as_binary()[0][:-1],
            as_binary()[1][HEADER_LENGTH],
            "binary_data_size is 12288, and 12287 bytes follow the JSON",
        ),
    ],
)
def test_a_malformed_body_gets_an_explanation(
    api: httpx.Client, body: bytes, length: str | None, detail: str
) -> None:
    headers = {} if length is None else {HEADER_LENGTH: length}

    response = api.post(INFER, content=body, headers=headers)

    assert response.status_code == 400
    assert detail in response.json()["error"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v2/models/other", "no model 'other' here; available: 'tiny'"),
        ("/v2/models/tiny/versions/2/ready", "no version '2' of 'tiny' here; available: '1'"),
    ],
)
def test_an_unknown_model_or_version_is_not_found(api: httpx.Client, path: str, said: str) -> None:
    response = api.get(path)

    assert response.status_code == 404
    assert response.json()["error"] == said


def test_without_a_golden_picture_the_start_is_the_reference(
    api: httpx.Client,
) -> None:
    status = api.get("/health/status").json()

    assert status["status"] == "ok"
    assert [found[0] for found in status["found"]] == ["square", "square"]


def test_a_golden_picture_with_other_detections_is_reported(tmp_path: Path) -> None:
    """model.yaml expects a circle; the model finds a square."""
    manifest = "golden:\n  picture: golden.png\n  expected:\n    - [circle, 0.9, [16, 16, 16, 8]]\n"
    model = write_tiny_model(tmp_path / "model", manifest=manifest)
    (model / "golden.png").write_bytes(encode(plain(32, 32)))
    service = Service("inference", free_port(), {"MODEL_PATH": str(model)}, tmp_path / "log")
    with service:
        service.wait_ready()
        response = httpx.get(f"{service.url}/health/status")

    assert response.status_code == 503
    assert "the prediction for the golden picture is wrong: no circle" in response.json()["detail"]


@pytest.mark.parametrize(
    "changes",
    [
        {"parameters": None},
        {"outputs": None},
        {"id": None},
        {"tensor": {"parameters": None}},
        {"tensor": {"parameters": {"binary_data_size": None}}},
        {"parameters": {"threshold": None, "iou": None, "resize": None}},
        {"parameters": {"binary_data_output": None}},
        {"outputs": [{"name": "detections", "parameters": None}]},
        {"outputs": [{"name": "detections", "parameters": {"binary_data": None}}]},
    ],
)
def test_null_for_an_optional_member_is_as_if_it_were_absent(
    api: httpx.Client, changes: dict[str, Any]
) -> None:
    expected = api.post(INFER, json=as_json()).json()
    found = api.post(INFER, json=as_json(**changes)).json()

    wanted = [output["name"] for output in changes.get("outputs") or expected["outputs"]]
    assert found["outputs"] == [one for one in expected["outputs"] if one["name"] in wanted]
    assert "id" not in found


@pytest.mark.parametrize("member", ["parameters", "outputs", "id"])
def test_null_for_an_optional_member_of_a_binary_request(api: httpx.Client, member: str) -> None:
    content, headers = as_binary(**{member: None})
    response = api.post(INFER, content=content, headers=headers)

    assert response.status_code == 200
    assert response.json()["outputs"][0]["data"][4] == pytest.approx(SCORE, abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"inputs": None}, "inputs: expected a list .*, inputs is null"),
        ({"tensor": {"name": None}}, "inputs: expected the tensor 'images', name is null"),
        (
            {"tensor": {"datatype": None}},
            "expected datatype UINT8, FP32 or BYTES, datatype is null",
        ),
        ({"tensor": {"shape": None}}, "expected shape .*, shape is null"),
        ({"tensor": {"data": None}}, "expected 12288 numbers .* as data, data is null"),
        ({"outputs": [{"name": None}]}, "outputs: expected .*, name is null"),
        ({"outputs": [None]}, "outputs: expected a list of objects"),
    ],
)
def test_null_where_a_value_is_needed_is_named(
    api: httpx.Client, changes: dict[str, Any], detail: str
) -> None:
    body = {**as_json(**{k: v for k, v in changes.items() if k == "tensor"})}
    body |= {key: value for key, value in changes.items() if key != "tensor"}
    response = api.post(INFER, json=body)

    assert response.status_code == 400
    assert re.search(detail, response.json()["detail"]), response.text
