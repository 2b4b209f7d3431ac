"""Health, reflection, metadata, configuration, statistics and the repository over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from elastic_yolo.lab.processes.stack import Service
from services.inference.grpc import open_inference_pb2 as pb
from tests.support.grpc_service import SERVICE, GrpcClient, grpc_service, infer_request, rows

TOKEN = "a long enough token"  # noqa: S105
BEARER = (("authorization", f"Bearer {TOKEN}"),)
PIXELS = np.zeros((1, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, GrpcClient]]:
    with grpc_service(tmp_path_factory.mktemp("grpc"), REPOSITORY_TOKEN=TOKEN) as both:
        yield both


@pytest.fixture(scope="module")
def client(running: tuple[Service, GrpcClient]) -> GrpcClient:
    return running[1]


@pytest.fixture(scope="module")
def http(running: tuple[Service, GrpcClient]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running[0].url) as opened:
        yield opened


def as_json(message: Any) -> Any:
    """Return a message in the form of HTTP's JSON; gRPC's JSON has 64-bit numbers as strings."""
    return _with_numbers(
        MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
    )


def _with_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        names = ("label", "version", "name", "reason", "string_value")
        return {key: one if key in names else _with_numbers(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_numbers(one) for one in value]
    return int(value) if isinstance(value, str) and value.lstrip("-").isdigit() else value


def test_server_metadata_is_that_of_http(client: GrpcClient, http: httpx.Client) -> None:
    expected = http.get("/v2").json()
    del expected["models"]

    assert as_json(client.call("ServerMetadata")) == expected
    assert expected["extensions"][-1] == "model_repository"


def test_model_metadata_is_that_of_http(client: GrpcClient, http: httpx.Client) -> None:
    expected = http.get("/v2/models/tiny").json()
    del expected["parameters"]

    found = as_json(client.call("ModelMetadata", pb.ModelMetadataRequest(name="tiny")))

    assert found == {**expected, "versions": [int(one) for one in expected["versions"]]}


def test_configuration_is_that_of_http(client: GrpcClient, http: httpx.Client) -> None:
    found = client.call("ModelConfig", pb.ModelConfigRequest(name="tiny", version="1"))

    assert as_json(found.config) == http.get("/v2/models/tiny/config").json()


def test_statistics_count_calls_and_are_those_of_http(
    client: GrpcClient, http: httpx.Client
) -> None:
    request = pb.ModelStatisticsRequest(name="tiny")
    before = client.call("ModelStatistics", request).model_stats[0]
    client.call("ModelInfer", infer_request(PIXELS))
    after = client.call("ModelStatistics", request)

    assert after.model_stats[0].inference_count == before.inference_count + 1
    assert after.model_stats[0].inference_stats.success.ns > before.inference_stats.success.ns
    assert as_json(after) == http.get("/v2/models/tiny/stats").json()
    assert client.call("ModelStatistics") == after, "without a name: of all models"


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("ModelReady", pb.ModelReadyRequest(name="big")),
        ("ModelMetadata", pb.ModelMetadataRequest(name="tiny", version="9")),
        ("ModelConfig", pb.ModelConfigRequest(name="big")),
        ("ModelStatistics", pb.ModelStatisticsRequest(name="big")),
        ("ModelInfer", infer_request(PIXELS, model_name="big")),
    ],
)
def test_an_unknown_model_is_not_found(client: GrpcClient, method: str, request_: Any) -> None:
    assert client.outcome(method, request_).code is grpc.StatusCode.NOT_FOUND


def test_the_index_needs_no_token(client: GrpcClient, http: httpx.Client) -> None:
    found = as_json(client.call("RepositoryIndex"))["models"]

    assert found == http.post("/v2/repository/index", json={}).json()
    assert [one["state"] for one in found] == ["READY"]


def test_models_are_loaded_and_unloaded_with_the_token(client: GrpcClient) -> None:
    load = pb.RepositoryModelLoadRequest(model_name="tiny")
    unload = pb.RepositoryModelUnloadRequest(model_name="tiny")
    unload.parameters["unload_dependents"].bool_param = False

    refused = client.outcome("RepositoryModelUnload", unload)
    client.call("RepositoryModelUnload", unload, metadata=BEARER)
    absent = client.outcome("ModelInfer", infer_request(PIXELS))
    index = client.call("RepositoryIndex", pb.RepositoryIndexRequest(ready=True))
    client.call("RepositoryModelLoad", load, metadata=BEARER)

    assert refused.code is grpc.StatusCode.UNAUTHENTICATED
    assert absent.code is grpc.StatusCode.NOT_FOUND
    assert list(index.models) == []
    assert len(rows(client.call("ModelInfer", infer_request(PIXELS))))


def test_parameters_of_a_load_are_an_invalid_argument(client: GrpcClient) -> None:
    load = pb.RepositoryModelLoadRequest(model_name="tiny")
    load.parameters["config"].string_param = "{}"

    outcome = client.outcome("RepositoryModelLoad", load, metadata=BEARER)

    assert outcome.code is grpc.StatusCode.INVALID_ARGUMENT
    assert outcome.details.startswith("parameters: not supported")


@pytest.mark.parametrize("method", ["RepositoryModelLoad", "RepositoryModelUnload"])
def test_without_a_token_in_the_settings_models_cannot_be_loaded(
    tmp_path: Path, method: str
) -> None:
    with grpc_service(tmp_path) as (_, client):
        assert client.outcome(method).code is grpc.StatusCode.UNIMPLEMENTED


def test_other_extensions_of_triton_are_unimplemented(client: GrpcClient) -> None:
    outcome = client.send_bytes(b"", "SystemSharedMemoryStatus")

    assert outcome.code is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("name", ["", SERVICE])
def test_the_health_service_says_serving(client: GrpcClient, name: str) -> None:
    health = health_pb2_grpc.HealthStub(client.channel)

    found = health.Check(health_pb2.HealthCheckRequest(service=name))

    assert found.status == health_pb2.HealthCheckResponse.SERVING
    assert name in health.List(health_pb2.HealthListRequest()).statuses


def test_the_health_of_an_unknown_service_is_not_found_and_may_be_watched(
    client: GrpcClient,
) -> None:
    health = health_pb2_grpc.HealthStub(client.channel)
    request = health_pb2.HealthCheckRequest(service="other")

    watched = health.Watch(request)
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(request)

    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert next(watched).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watched.cancel()


def test_reflection_describes_the_services_and_their_messages(client: GrpcClient) -> None:
    found = ProtoReflectionDescriptorDatabase(client.channel)

    assert [*found.get_services()] == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        SERVICE,
    ]
    described = found.FindFileContainingSymbol(SERVICE)
    assert "ModelInferRequest" in [message.name for message in described.message_type]


def test_calls_are_counted_like_requests(client: GrpcClient, http: httpx.Client) -> None:
    client.call("ModelInfer", infer_request(PIXELS))

    labels = 'method="gRPC",route="/inference.GRPCInferenceService/ModelInfer"'
    lines = http.get("/metrics").text.splitlines()
    assert any(line.startswith(f"elastic_yolo_requests_total{{{labels}") for line in lines)
