"""What perf_analyzer sends and reads, which no package installs: recorded from its source.

It asks for server metadata, model metadata and configuration, then for the statistics before and
after a period of requests.

Sources: triton-inference-server/perf_analyzer, `src/model_parser.cc` and
`src/client_backend/triton/triton_client_backend.cc`; triton-inference-server/client,
`src/c++/library/http_client.cc` (PrepareRequestJson, PreRunProcessing) and `grpc_client.cc`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from elastic_yolo.lab.processes.stack import Service
from services.inference.grpc import open_inference_pb2 as pb
from tests.support.grpc_service import GrpcClient, grpc_service, infer_request, tensors
from tests.support.tiny import SCORE

PIXELS = np.full((1, 32, 32, 3), 128, np.uint8)
OUTPUTS = ["detections", "counts"]
DURATIONS = [
    "success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit",
    "cache_miss",
]  # fmt: skip


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, GrpcClient]]:
    with grpc_service(tmp_path_factory.mktemp("perf")) as both:
        yield both


@pytest.fixture(scope="module")
def http(running: tuple[Service, GrpcClient]) -> Iterator[httpx.Client]:
    headers = {"User-Agent": "libcurl-agent/1.0", "Accept": "*/*"}
    with httpx.Client(base_url=running[0].url, headers=headers) as client:
        yield client


@pytest.fixture(scope="module")
def client(running: tuple[Service, GrpcClient]) -> GrpcClient:
    return running[1]


def infer_over_http(http: httpx.Client, number: int) -> httpx.Response:
    tensor = {
        "name": "images",
        "datatype": "UINT8",
        "shape": [1, 32, 32, 3],
        "parameters": {"binary_data_size": PIXELS.nbytes},
    }
    outputs = [{"name": name, "parameters": {"binary_data": True}} for name in OUTPUTS]
    head = json.dumps({"id": str(number), "inputs": [tensor], "outputs": outputs}).encode()
    return http.post(
        "/v2/models/tiny/infer",
        content=head + PIXELS.tobytes(),
        headers={
            "Inference-Header-Content-Length": str(len(head)),
            "Content-Type": "application/octet-stream",
        },
    )


def grpc_request(number: int) -> pb.ModelInferRequest:
    parameters = {"triton_enable_empty_final_response": False}
    return infer_request(PIXELS, id=str(number), outputs=OUTPUTS, parameters=parameters)


def test_metadata_and_configuration_agree_over_http(http: httpx.Client) -> None:
    server = http.get("/v2").json()
    metadata = http.get("/v2/models/tiny").json()
    config = http.get("/v2/models/tiny/config").json()

    assert "statistics" in server["extensions"], "or it does not ask for them"
    assert isinstance(config["max_batch_size"], int)
    assert {one["name"] for one in config["input"]} <= {one["name"] for one in metadata["inputs"]}
    assert {one["name"] for one in config["output"]} <= {one["name"] for one in metadata["outputs"]}
    assert metadata["inputs"][0]["shape"] == [-1, 32, 32, 3], "needs --shape images:1,32,32,3"


def test_a_binary_request_gets_a_binary_response(http: httpx.Client) -> None:
    response = infer_over_http(http, 7)

    length = int(response.headers["Inference-Header-Content-Length"])
    head = json.loads(response.content[:length])
    assert head["id"] == "7"
    assert [one["name"] for one in head["outputs"]] == OUTPUTS
    sizes = [one["parameters"]["binary_data_size"] for one in head["outputs"]]
    assert length + sum(sizes) == len(response.content)
    found = np.frombuffer(response.content[length : length + sizes[0]], "<f4")
    assert found == pytest.approx(np.array([8, 12, 24, 20, SCORE, 0]), abs=1e-4)


def test_the_statistics_over_http_have_all_numbers_that_are_read(http: httpx.Client) -> None:
    before = http.get("/v2/models/tiny/stats").json()["model_stats"][0]
    for number in range(3):
        infer_over_http(http, number)
    after = http.get("/v2/models/tiny/stats").json()["model_stats"][0]

    assert (after["name"], after["version"]) == ("tiny", "1")
    assert after["inference_count"] - before["inference_count"] == 3
    assert after["execution_count"] - before["execution_count"] == 3
    for name in DURATIONS:
        assert {*after["inference_stats"][name]} == {"count", "ns"}, name


def test_asynchronous_calls_on_one_channel_are_counted_in_the_statistics(
    client: GrpcClient,
) -> None:
    """Four in flight at any moment, as with --concurrency-range 4."""
    query = pb.ModelStatisticsRequest(name="tiny", version="1")
    config = client.call("ModelConfig", pb.ModelConfigRequest(name="tiny")).config
    before = client.call("ModelStatistics", query).model_stats[0]
    waiting: list[Any] = []
    ids = []
    for number in range(12):
        waiting.append(client.start("ModelInfer", grpc_request(number), timeout=None))
        if len(waiting) == 4:
            ids.append(waiting.pop(0).result().id)
    ids += [one.result().id for one in waiting]
    after = client.call("ModelStatistics", query).model_stats[0]

    assert config.max_batch_size == 0
    assert ids == [str(number) for number in range(12)]
    assert after.inference_count - before.inference_count == 12
    assert after.inference_stats.success.count - before.inference_stats.success.count == 12
    assert 1 <= after.execution_count - before.execution_count <= 12
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns
    assert after.inference_stats.HasField("cache_hit")


def test_the_response_over_grpc_has_the_outputs_as_raw_contents(client: GrpcClient) -> None:
    response = client.call("ModelInfer", grpc_request(7))

    assert list(tensors(response)) == OUTPUTS
    assert not any(output.HasField("contents") for output in response.outputs)
