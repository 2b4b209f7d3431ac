"""ModelInfer: the tensors of requests and responses, and the same answer as over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest

from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT, Service
from services.inference.elements import join_elements
from services.inference.grpc import open_inference_pb2 as pb
from tests.support.background import infer as infer_over_http
from tests.support.background import rows as rows_over_http
from tests.support.grpc_service import GrpcClient, grpc_service, infer_request, rows, tensors
from tests.support.pictures import encode, plain
from tests.support.tiny import SCORE

PIXELS = np.full((1, 32, 32, 3), 128, np.uint8)
SQUARE = [8, 12, 24, 20, SCORE, 0]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, GrpcClient]]:
    with grpc_service(tmp_path_factory.mktemp("grpc")) as running:
        yield running


@pytest.fixture(scope="module")
def client(service: tuple[Service, GrpcClient]) -> GrpcClient:
    return service[1]


def typed_request(
    datatype: str, **contents: list[int] | list[float] | list[bytes]
) -> pb.ModelInferRequest:
    request = infer_request()
    tensor = request.inputs.add(name="images", datatype=datatype, shape=[1, 32, 32, 3])
    for name, values in contents.items():
        getattr(tensor.contents, name).extend(values)
    return request


def test_raw_pixels_give_the_boxes_that_the_model_computes(client: GrpcClient) -> None:
    response = client.call("ModelInfer", infer_request(PIXELS, id="seven"))

    assert (response.model_name, response.model_version, response.id) == ("tiny", "1", "seven")
    found = tensors(response)
    assert list(found) == ["detections", "counts"]
    assert found["detections"] == pytest.approx(np.array([SQUARE]), abs=1e-4)
    assert found["counts"].tolist() == [1]
    assert json.loads(response.parameters["labels"].string_param) == {"0": "square"}
    assert response.parameters["digest"].string_param.startswith("sha256:")


@pytest.mark.parametrize(
    "request_",
    [
        infer_request(PIXELS.astype(np.float32)),
        typed_request("UINT8", uint_contents=[128] * 3072),
        typed_request("FP32", fp32_contents=[128.0] * 3072),
    ],
    ids=["raw FP32", "uint_contents", "fp32_contents"],
)
def test_every_form_of_pixels_gives_the_same(
    client: GrpcClient, request_: pb.ModelInferRequest
) -> None:
    assert rows(client.call("ModelInfer", request_)) == pytest.approx(np.array([SQUARE]), abs=1e-4)


def test_a_batch_has_the_rows_of_all_pictures(client: GrpcClient) -> None:
    found = tensors(client.call("ModelInfer", infer_request(np.repeat(PIXELS, 3, 0))))

    assert found["detections"].shape == (3, 6)
    assert found["counts"].tolist() == [1, 1, 1]


def test_numbers_larger_than_the_head_are_decoded_off_the_event_loop(tmp_path: Path) -> None:
    """The demo model's input has half a million numbers."""
    with grpc_service(tmp_path, DEMO_MODEL) as (service, client):
        name = httpx.get(f"{service.url}/v2").json()["models"][0]
        shape = list(
            client.call("ModelMetadata", pb.ModelMetadataRequest(name=name)).inputs[0].shape
        )
        image = np.random.default_rng(20).integers(0, 256, shape[1:], np.uint8)
        typed = infer_request(model_name=name)
        tensor = typed.inputs.add(name="images", datatype="UINT8", shape=[1, *shape[1:]])
        tensor.contents.uint_contents.extend(image.ravel().tolist())

        numbers = client.outcome("ModelInfer", typed)
        raw = client.outcome("ModelInfer", infer_request(image[np.newaxis], model_name=name))
        over_http = rows_over_http(infer_over_http(service, image, name))

    assert "json_queue" in numbers.metadata["server-timing"]
    assert "json_queue" not in raw.metadata["server-timing"]
    assert rows(numbers.response).tolist() == rows(raw.response).tolist() == over_http.tolist()


def test_picture_files_are_decoded_and_boxes_are_in_their_pixels(tmp_path: Path) -> None:
    """The samples' expected boxes come from HTTP, which takes the same files."""
    picture = next((ROOT / "client" / "images").glob("*.jpg")).read_bytes()
    with grpc_service(tmp_path, DEMO_MODEL) as (service, client):
        name = httpx.get(f"{service.url}/v2").json()["models"][0]
        tensor = {"name": "images", "datatype": "BYTES", "shape": [1]}
        elements = join_elements([picture])
        head = {"inputs": [{**tensor, "parameters": {"binary_data_size": len(elements)}}]}
        encoded = json.dumps(head).encode()
        over_http = httpx.post(
            f"{service.url}/v2/models/{name}/infer",
            content=encoded + elements,
            headers={"Inference-Header-Content-Length": str(len(encoded))},
        )
        raw, typed = infer_request(model_name=name), infer_request(model_name=name)
        raw.inputs.add(**tensor)
        raw.raw_input_contents.append(elements)
        typed.inputs.add(**tensor).contents.bytes_contents.append(picture)
        responses = [client.call("ModelInfer", one) for one in (raw, typed)]

    expected = rows_over_http(over_http)
    assert len(expected)
    assert [rows(one).tolist() for one in responses] == [expected.tolist()] * 2


def test_a_file_that_is_no_picture_is_an_invalid_argument(client: GrpcClient) -> None:
    request = infer_request()
    request.inputs.add(name="images", datatype="BYTES", shape=[1]).contents.bytes_contents.append(
        encode(plain(32, 32), "PNG")[:40]
    )

    assert client.outcome("ModelInfer", request).code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("names", [["counts"], ["counts", "detections"]], ids=len)
def test_the_response_has_the_outputs_that_were_asked_for_in_their_order(
    client: GrpcClient, names: list[str]
) -> None:
    response = client.call("ModelInfer", infer_request(PIXELS, outputs=names))

    assert list(tensors(response)) == names


@pytest.mark.parametrize(
    ("parameters", "count"),
    [
        ({"threshold": 0.99}, 0),
        ({"threshold": 0}, 2),
        ({"threshold": 0.0, "iou": 1.0}, 2),
        ({"threshold": "0.99"}, 0),
        ({"resize": "letterbox"}, 1),
        ({"priority": 7, "headers": "x", "binary_data_output": True}, 1),
    ],
)
def test_parameters_are_those_of_http_and_unknown_ones_are_ignored(
    client: GrpcClient, parameters: dict[str, object], count: int
) -> None:
    assert (
        len(rows(client.call("ModelInfer", infer_request(PIXELS, parameters=parameters)))) == count
    )


def with_raw(*contents: bytes) -> pb.ModelInferRequest:
    request = infer_request(PIXELS)
    del request.raw_input_contents[:]
    request.raw_input_contents.extend(contents)
    return request


@pytest.mark.parametrize(
    ("request_", "details"),
    [
        (infer_request(), "inputs: expected a list with exactly one tensor, 'images'"),
        (infer_request(PIXELS[:, 1:]), "images: expected shape [n, 32, 32, 3]"),
        (infer_request(np.repeat(PIXELS, 17, 0)), "images: expected 1 to 16 pictures"),
        (infer_request(np.full((1, 32, 32, 3), np.nan, np.float32)), "expected finite numbers"),
        (infer_request(PIXELS, outputs=["boxes"]), "outputs: expected 'detections' or 'counts'"),
        (infer_request(PIXELS, parameters={"threshold": 1.5}), "threshold: expected a number from"),
        (infer_request(PIXELS, parameters={"iou": "low"}), "iou: expected a number from 0 to 1"),
        (infer_request(PIXELS, parameters={"resize": "crop"}), "resize: expected "),
        (with_raw(bytes(3071)), "images: expected 3072 bytes of binary data"),
        (with_raw(), "images: expected 3072 numbers from 0 to 255"),
        (with_raw(bytes(3072), b""), "raw_input_contents: expected one element for the input"),
        (typed_request("UINT8", uint_contents=[256] * 3072), "numbers from 0 to 255"),
        (typed_request("UINT8", int_contents=[1] * 3072), "contents: expected uint_contents for"),
        (typed_request("FP32", fp64_contents=[1.0] * 3072), "contents: expected fp32_contents for"),
        (typed_request("INT64", int64_contents=[1] * 3072), "images: expected datatype UINT8"),
    ],
)
def test_a_wrong_request_is_an_invalid_argument(
    client: GrpcClient, request_: pb.ModelInferRequest, details: str
) -> None:
    outcome = client.outcome("ModelInfer", request_)

    assert outcome.code is grpc.StatusCode.INVALID_ARGUMENT
    assert details in outcome.details


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        ({"model_name": "big"}, "no model 'big' here; available: 'tiny'"),
        ({"model_version": "9"}, "no version '9' of 'tiny' here; available: '1'"),
    ],
)
def test_an_unknown_model_or_version_is_not_found(
    client: GrpcClient, fields: dict[str, str], details: str
) -> None:
    outcome = client.outcome("ModelInfer", infer_request(PIXELS, **fields))

    assert (outcome.code, outcome.details) == (grpc.StatusCode.NOT_FOUND, details)


def test_several_calls_run_at_once_on_one_connection(client: GrpcClient) -> None:
    calls = [client.start("ModelInfer", infer_request(PIXELS, id=str(n))) for n in range(40)]

    assert [one.result().id for one in calls] == [str(n) for n in range(40)]
