"""Each kind of request of tritonclient and kserve, over HTTP and gRPC, with its values."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.loading import load_detector
from elastic_yolo.lab.processes.stack import DEMO_MODEL, LOOPBACK, ROOT, Service, free_port

ROOM = ROOT / ".venv-clients"
HERE = Path(__file__).parent
TOKEN = "a long enough token"  # noqa: S105
MODEL = "yolov3-tiny-emoji"
PROTOCOLS = ["http", "grpc"]


@dataclass(frozen=True)
class Running:
    """An inference process, and a picture with what the network finds in it."""

    service: Service
    folder: Path
    pixels: list[list[float]]
    """Detections in the network's pixels, (k, 6)."""
    picture: list[list[float]]
    """The same in the picture's."""

    @property
    def grpc(self) -> str:
        return f"{LOOPBACK}:{self.service.env['GRPC_PORT']}"

    def run(self, program: str, *arguments: str) -> Any:
        """Run a program in .venv-clients and return what it printed."""
        ended = subprocess.run(
            [ROOM / "bin" / "python", HERE / f"{program}.py", *arguments],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    if not (ROOM / "ready").exists():
        pytest.skip("needs .venv-clients, which `make clients` sets up")
    folder = tmp_path_factory.mktemp("clients")
    detector = load_detector(DEMO_MODEL, EngineOptions(threads=1))[0]
    picture = busiest_sample(detector)
    image, place = detector.prepare(picture)
    np.save(folder / "pixels.npy", image[np.newaxis])
    (folder / "picture.jpg").write_bytes(picture)
    model = detector.model
    heads = detector.execute(image[np.newaxis])
    (rows,) = detector.postprocess(heads, model.threshold, model.iou)
    env = {
        "MODEL_PATH": str(DEMO_MODEL),
        "GRPC_PORT": str(free_port()),
        "REPOSITORY_TOKEN": TOKEN,
        "PRECISION": "fp32",
    }
    with Service("inference", free_port(), env, folder / "log") as service:
        service.wait_ready()
        yield Running(service, folder, rows.tolist(), place.to_picture(rows).tolist())


def busiest_sample(detector: Detector) -> bytes:
    """Return the sample with the most objects, as a JPEG of another size than the network's."""
    samples = sorted((ROOT / "client" / "images").iterdir())
    files = [path.read_bytes() for path in samples if path.suffix in (".jpg", ".png")]
    best = max(files, key=lambda one: len(detector.detect(one)))
    image = cv2.imdecode(np.frombuffer(best, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


@pytest.fixture(scope="module", params=PROTOCOLS)
def triton(running: Running, request: pytest.FixtureRequest) -> tuple[str, Any]:
    """The protocol, and what tritonclient found over it."""
    protocol: str = request.param
    address = running.service.url.removeprefix("http://") if protocol == "http" else running.grpc
    return protocol, running.run("triton_program", protocol, address, MODEL, str(running.folder))


@pytest.fixture(scope="module")
def kserve(running: Running) -> Any:
    """What kserve's clients found, by protocol."""
    return running.run(
        "kserve_program", running.service.url, running.grpc, MODEL, str(running.folder)
    )


def near(rows: list[list[float]]) -> Any:
    """Return rows that compare with those of another process: threads change the last digits."""
    return pytest.approx(np.array(rows), abs=0.01)


def test_tritonclient_finds_server_and_model_ready(triton: tuple[str, Any]) -> None:
    _, found = triton

    assert (found["live"], found["ready"], found["model_ready"]) == (True, True, True)
    assert found["server"]["name"] == "elastic-yolo"
    assert found["server"]["extensions"] == [
        "binary_tensor_data", "model_configuration", "statistics", "model_repository",
    ]  # fmt: skip
    (tensor,) = found["metadata"]["inputs"]
    assert (tensor["name"], tensor["datatype"]) == ("images", "UINT8")
    assert [int(one) for one in tensor["shape"]] == [-1, 416, 416, 3]
    assert [one["name"] for one in found["metadata"]["outputs"]] == ["detections", "counts"]


def test_tritonclient_reads_configuration_and_index(triton: tuple[str, Any]) -> None:
    protocol, found = triton
    config = found["config"] if protocol == "http" else found["config"]["config"]
    index = found["index"] if protocol == "http" else found["index"]["models"]

    assert config["name"] == MODEL
    assert config["max_batch_size"] == 0
    assert config["input"][0]["data_type"] == "TYPE_UINT8"
    assert [(one["name"], one["state"]) for one in index] == [(MODEL, "READY")]


@pytest.mark.parametrize("form", ["plain", "version", "fp32", "gzip", "deflate", "swapped"])
def test_tritonclient_gets_the_networks_boxes(
    triton: tuple[str, Any], running: Running, form: str
) -> None:
    found = triton[1]["infer"][form]

    assert len(running.pixels) > 1
    assert np.array(found["detections"]) == near(running.pixels)
    assert found["counts"] == [len(running.pixels)]


def test_tritonclient_gets_the_same_as_json(triton: tuple[str, Any], running: Running) -> None:
    protocol, found = triton
    if protocol == "http":
        assert np.array(found["infer"]["json"]["detections"]) == near(running.pixels)


def test_tritonclient_gets_its_id_back(triton: tuple[str, Any]) -> None:
    assert triton[1]["infer"]["plain"]["id"] == "seven"


def test_tritonclient_gets_the_rows_of_a_batch(triton: tuple[str, Any], running: Running) -> None:
    found = triton[1]["infer"]["batch"]

    assert found["counts"] == [len(running.pixels)] * 2
    assert np.array(found["detections"]) == near(running.pixels * 2)


def test_tritonclient_gets_only_the_outputs_it_asks_for(triton: tuple[str, Any]) -> None:
    found = triton[1]["infer"]

    assert [key for key in found["counts"] if key not in ("id", "version")] == ["counts"]
    assert [*found["swapped"]][-2:] == ["counts", "detections"]


def test_tritonclient_passes_parameters(triton: tuple[str, Any], running: Running) -> None:
    found = triton[1]["infer"]["threshold"]["detections"]

    assert len(found) == len([row for row in running.pixels if row[4] >= 0.99])


def test_tritonclient_sends_picture_files(triton: tuple[str, Any], running: Running) -> None:
    found = triton[1]["infer"]

    assert np.array(found["picture"]["detections"]) == near(running.picture)
    assert found["pictures"]["counts"] == [len(running.picture)] * 2


def test_tritonclient_sends_several_requests_at_once(
    triton: tuple[str, Any], running: Running
) -> None:
    assert [np.array(one) == near(running.pixels) for one in triton[1]["async"]] == [True] * 4


def test_tritonclient_reads_how_many_pictures_were_processed(triton: tuple[str, Any]) -> None:
    """Twelve or eleven forms, two of them with two pictures, and four at once."""
    protocol, found = triton

    assert found["counted"] == (18 if protocol == "http" else 17)


def test_tritonclient_loads_and_unloads_with_the_token(
    triton: tuple[str, Any], running: Running
) -> None:
    _, found = triton

    assert "is not loaded" in found["unloaded"][1]
    assert np.array(found["loaded"]["detections"]) == near(running.pixels)


@pytest.mark.parametrize(
    ("kind", "over_http", "over_grpc", "message"),
    [
        ("model", "404", "StatusCode.NOT_FOUND", "no model 'absent' here"),
        ("version", "404", "StatusCode.NOT_FOUND", "no version '9'"),
        ("shape", "400", "StatusCode.INVALID_ARGUMENT", "expected shape [n, 416, 416, 3]"),
        ("output", "400", "StatusCode.INVALID_ARGUMENT", "expected 'detections' or 'counts'"),
        ("threshold", "422", "StatusCode.INVALID_ARGUMENT", "expected a number from 0 to 1"),
        ("file", "415", "StatusCode.INVALID_ARGUMENT", "not an accepted picture format"),
        ("config", "404", "StatusCode.NOT_FOUND", "no model 'absent' here"),
        ("token", "401", "StatusCode.UNAUTHENTICATED", "requires a token"),
    ],
)
def test_tritonclient_gets_errors_as_its_exception(
    triton: tuple[str, Any], kind: str, over_http: str, over_grpc: str, message: str
) -> None:
    protocol, found = triton
    status, text = found["errors"][kind]

    assert status == (over_http if protocol == "http" else over_grpc)
    assert message in text


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_kserve_finds_server_and_model_ready(kserve: Any, protocol: str) -> None:
    found = kserve[protocol]

    assert (found["live"], found["ready"], found["model_ready"]) == (True, True, True)
    assert kserve["http"]["absent_ready"] is False


@pytest.mark.parametrize("form", ["binary", "numbers"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_kserve_gets_the_networks_boxes(
    kserve: Any, running: Running, protocol: str, form: str
) -> None:
    found = kserve[protocol]["infer"][form]

    assert (found["id"], found["model"]) == ("seven", MODEL)
    assert np.array(found["detections"]) == near(running.pixels)
    assert found["counts"] == [len(running.pixels)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_kserve_passes_parameters_outputs_and_picture_files(
    kserve: Any, running: Running, protocol: str
) -> None:
    found = kserve[protocol]["infer"]

    assert "detections" not in found["outputs"]
    assert len(found["threshold"]["detections"]) < len(running.pixels)
    assert np.array(found["picture"]["detections"]) == near(running.picture)


def test_a_standard_client_needs_no_proto_file(running: Running) -> None:
    found = running.run("standard_program", running.grpc)

    assert found["name"] == "elastic-yolo"
    assert found["health"] == {"": 1, "inference.GRPCInferenceService": 1}
    assert "ModelInfer" in found["methods"]
    assert "inference.GRPCInferenceService" in found["services"]
