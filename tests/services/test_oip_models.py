"""Configuration and statistics of models in Triton's form, over real sockets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from elastic_yolo.lab.processes.stack import Service, free_port
from tests.support.open_inference import picture_body, pixel_body
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model

PHASES = {"queue", "compute_input", "compute_infer", "compute_output"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("models")
    manifest = "version: '3'\nresize: stretch\n"
    env = {
        "MODEL_PATH": str(write_tiny_model(folder / "tiny", width=64, manifest=manifest)),
        "MODEL_B_PATH": str(write_tiny_model(folder / "b", manifest="name: other\n")),
        "MAX_BATCH": "4",
        "PRECISION": "fp32",
    }
    with Service("inference", free_port(), env, folder / "log") as service:
        service.wait_ready()
        with httpx.Client(base_url=service.url, timeout=60) as client:
            yield client


@pytest.fixture
def own_api(tmp_path: Path) -> Iterator[httpx.Client]:
    """A service of its own for a test that counts."""
    env = {"MODEL_PATH": str(write_tiny_model(tmp_path / "tiny")), "MAX_BATCH": "4"}
    with Service("inference", free_port(), env, tmp_path / "log") as service:
        service.wait_ready()
        with httpx.Client(base_url=service.url, timeout=60) as client:
            yield client


@pytest.mark.parametrize("path", ["/v2/models/tiny/config", "/v2/models/tiny/versions/3/config"])
def test_the_configuration_of_a_model(api: httpx.Client, path: str) -> None:
    config = api.get(path).json()

    assert (config["name"], config["platform"]) == ("tiny", "darknet_openvino")
    # 0: the first dimension is a part of the shape, because `detections` has a row for each object.
    assert config["max_batch_size"] == 0
    assert config["input"] == [
        {"name": "images", "data_type": "TYPE_UINT8", "dims": [-1, 32, 64, 3]}
    ]
    assert config["output"] == [
        {"name": "detections", "data_type": "TYPE_FP32", "dims": [-1, 6]},
        {"name": "counts", "data_type": "TYPE_INT64", "dims": [-1]},
    ]
    assert [group["kind"] for group in config["instance_group"]] == ["KIND_CPU"]
    parameters = {name: one["string_value"] for name, one in config["parameters"].items()}
    assert parameters.pop("digest").startswith("sha256:")
    assert parameters == {"resize": "stretch", "precision": "fp32", "max_pictures": "4"}


def test_configuration_and_metadata_agree(api: httpx.Client) -> None:
    config, metadata = (api.get(f"/v2/models/tiny{path}").json() for path in ("/config", ""))

    for described, tensors in (("input", "inputs"), ("output", "outputs")):
        for one, other in zip(config[described], metadata[tensors], strict=True):
            assert one["name"] == other["name"]
            assert one["dims"] == other["shape"]
            assert one["data_type"] == f"TYPE_{other['datatype']}"


def test_the_metadata_lists_the_picture_files_that_are_accepted(api: httpx.Client) -> None:
    metadata = api.get("/v2/models/tiny").json()

    assert metadata["parameters"]["pictures"] == [
        "image/jpeg",
        "image/png",
        "image/webp",
        "image/bmp",
    ]


def test_a_model_that_has_done_nothing_has_statistics(api: httpx.Client) -> None:
    (other,) = api.get("/v2/models/other/stats").json()["model_stats"]

    assert (other["name"], other["version"]) == ("other", "1")
    assert (other["last_inference"], other["inference_count"], other["execution_count"]) == (0,) * 3
    assert set(other["inference_stats"]) == {"success", "fail", "cache_hit", "cache_miss", *PHASES}
    assert all(one == {"count": 0, "ns": 0} for one in other["inference_stats"].values())
    assert other["batch_stats"] == []


def test_the_statistics_of_all_models(api: httpx.Client) -> None:
    found = api.get("/v2/models/stats").json()["model_stats"]

    assert [(one["name"], one["version"]) for one in found] == [("tiny", "3"), ("other", "1")]


def statistics(api: httpx.Client) -> dict[str, Any]:
    (found,) = api.get("/v2/models/tiny/stats").json()["model_stats"]
    assert api.get("/v2/models/tiny/versions/1/stats").json()["model_stats"] == [found]
    result: dict[str, Any] = found
    return result


def infer(api: httpx.Client, body: tuple[bytes, dict[str, str]]) -> int:
    content, headers = body
    return api.post("/v2/models/tiny/infer", content=content, headers=headers).status_code


def test_statistics_count_requests_pictures_and_runs_of_the_engine(own_api: httpx.Client) -> None:
    """Three requests with one picture, two with three, one of picture files; then a bad one."""
    before_ms = time.time() * 1000
    statuses = [infer(own_api, pixel_body(np.zeros((1, 32, 32, 3), np.uint8))) for _ in range(3)]
    statuses += [infer(own_api, pixel_body(np.zeros((3, 32, 32, 3), np.uint8))) for _ in range(2)]
    without_files = statistics(own_api)
    statuses.append(infer(own_api, picture_body([encode(plain(500, 400))])))
    refused = infer(own_api, picture_body([b"no picture"]))
    malformed = infer(own_api, pixel_body(np.zeros((1, 8, 8, 3), np.uint8)))
    found = statistics(own_api)

    assert (statuses, refused, malformed) == ([200] * 6, 415, 400)
    stats = found["inference_stats"]
    # A request that never reaches a version is nobody's failure.
    assert (stats["success"]["count"], stats["fail"]["count"]) == (6, 1)
    assert found["inference_count"] == 3 + 2 * 3 + 1
    assert found["execution_count"] == 6
    assert {one["batch_size"]: one["compute_infer"]["count"] for one in found["batch_stats"]} == {
        1: 4,
        3: 2,
    }
    assert before_ms - 1 <= found["last_inference"] <= time.time() * 1000
    assert {stats[phase]["count"] for phase in PHASES} == {6}
    parts = [stats[phase]["ns"] for phase in PHASES]
    assert stats["compute_infer"]["ns"] > 0
    assert sum(parts) < stats["success"]["ns"]
    # Only picture files are prepared here.
    assert without_files["inference_stats"]["compute_input"]["ns"] == 0
    assert stats["compute_input"]["ns"] > 0


@pytest.mark.parametrize("what", ["config", "stats"])
@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("nothing", "no model 'nothing' here; available: 'tiny', 'other'"),
        ("tiny/versions/9", "no version '9' of 'tiny' here; available: '3'"),
    ],
)
def test_an_unknown_model_or_version_is_not_found(
    api: httpx.Client, what: str, model: str, said: str
) -> None:
    refused = api.get(f"/v2/models/{model}/{what}")

    assert (refused.status_code, refused.json()["error"]) == (404, said)


def test_the_new_routes_are_in_the_schema(api: httpx.Client) -> None:
    paths = api.get("/openapi.json").json()["paths"]

    model = "/v2/models/{name}"
    assert {
        "/v2/models/stats",
        *(f"{model}{version}/{what}" for version in ("", "/versions/{version}")
          for what in ("config", "stats")),
        "/v2/repository/index",
    } <= set(paths)  # fmt: skip
