"""Each service's OpenAPI schema, and requests that it generates, valid and invalid."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error

from elastic_yolo.lab.processes.stack import Stack
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model

TOKEN = "a long enough token"  # noqa: S105
# Statuses of an invalid request; a 5xx would be the service's fault.
CALLERS_FAULT = {400, 401, 404, 405, 413, 415, 422}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("openapi")
    explaining = {"EXPLAIN": "true"}
    env = {
        "inference": {"REPOSITORY_TOKEN": TOKEN},
        "preprocess": explaining,
        "web": explaining,
    }
    with Stack(model=write_tiny_model(folder / "model"), logs=folder, env=env) as running:
        yield running


def load(stack: Stack, name: str) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{getattr(stack, name).url}/openapi.json")


@pytest.mark.parametrize("name", ["web", "preprocess", "inference"])
def test_no_generated_request_causes_a_server_error(stack: Stack, name: str) -> None:
    schema = load(stack, name)
    statuses: set[int] = set()

    for result in schema.get_all_operations():
        operation = result.ok()
        # A request with path parameters only cannot be invalid: they are strings.
        can_be_invalid = len(operation.query) or operation.body
        for mode in GenerationMode if can_be_invalid else (GenerationMode.POSITIVE,):

            @settings(max_examples=15)
            @given(operation.as_strategy(generation_mode=mode))
            def send(case: schemathesis.Case) -> None:
                response = case.call(headers={"Authorization": f"Bearer {TOKEN}"})
                statuses.add(response.status_code)
                case.validate_response(response, checks=[not_a_server_error])

            send()

    assert statuses <= CALLERS_FAULT | {200}


def test_the_schema_of_inference_lists_bodies_and_parameters(stack: Stack) -> None:
    described = httpx.get(f"{stack.web.url}/openapi.json").json()["paths"]["/inference"]["post"]

    assert set(described["requestBody"]["content"]) == {"multipart/form-data", "image/*"}
    assert {p["name"] for p in described["parameters"]} == {"model", "threshold", "iou"}


@pytest.mark.parametrize("name", ["web", "preprocess", "inference"])
def test_every_operation_describes_its_errors(stack: Stack, name: str) -> None:
    url = getattr(stack, name).url
    schema = httpx.get(f"{url}/openapi.json").json()

    problem = schema["components"]["schemas"]["Problem"]
    for operations in schema["paths"].values():
        for operation in operations.values():
            (kind,) = operation["responses"]["default"]["content"]
            assert kind == "application/problem+json"
            assert "422" not in operation["responses"]
    assert "HTTPValidationError" not in str(schema)
    error = httpx.get(f"{url}/nothing")
    jsonschema_rs.validate(problem, error.json())
    assert set(error.json()) == set(problem["properties"])


def test_the_response_of_inference_is_what_its_schema_says(stack: Stack) -> None:
    paths = httpx.get(f"{stack.web.url}/openapi.json").json()["paths"]
    content = paths["/inference"]["post"]["responses"]["200"]["content"]
    picture = encode(plain(64, 32), "JPEG")

    response = httpx.post(f"{stack.web.url}/inference", files={"image": picture}, timeout=60)

    assert set(content) == {"application/json", "image/jpeg", "image/png"}
    jsonschema_rs.validate(content["application/json"]["schema"], response.json())
    assert response.json()["data"]
    assert set(response.json()) == set(content["application/json"]["schema"]["properties"])


def test_operation_ids_do_not_follow_renamed_functions(stack: Stack) -> None:
    """Generated clients name their methods after them."""

    def picture_operations(url: str) -> set[str]:
        paths = httpx.get(f"{url}/openapi.json").json()["paths"]
        posts = (operations["post"] for operations in paths.values() if "post" in operations)
        return {post["operationId"] for post in posts if "repository" not in post["operationId"]}

    assert picture_operations(stack.web.url) == {
        "inference_inference_post",
        "explain_explain_post",
    }
    assert picture_operations(stack.preprocess.url) == {
        "process_process_post",
        "explain_explain_post",
    }
    assert picture_operations(stack.inference.url) == {
        "infer_v2_models__name__infer_post",
        "infer_v2_models__name__versions__version__infer_post",
    }
