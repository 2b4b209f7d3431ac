"""Servers of other makes behind the table of routes: MLServer with onnxruntime, raw heads.

The same network runs in our own inference service by OpenVINO, by Darknet's own library and by
onnxruntime in MLServer. Their boxes agree to PIXELS and their scores to SCORE.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import onnx
import pytest
import yaml

from elastic_yolo.detector.engines.load import make_graph
from elastic_yolo.detector.model import read_model, read_output_decoder
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT, Service, free_port
from elastic_yolo.picture.agreement import first_difference
from tests.support.mlserver import EXAMPLE, mlserver, started
from tests.support.routing import Routed, inference, routed
from tests.support.tiny import write_tiny_model
from tests.support.versions import sample
from tests.support.waiting import wait_until

PICTURE = (ROOT / "client" / "images" / "scene-01.jpg").read_bytes()
PIXELS = 0.05
SCORE = 0.001
HEADS = ["layer16", "layer23"]


def write_networks(folder: Path) -> dict[str, Path]:
    """Export the demo model: as `convert --output` does, and with planes of floats up to 1."""
    graph = make_graph(read_model(DEMO_MODEL), half=False)
    files = {"yolo-onnx": folder / "pixels.onnx", "yolo-planes": folder / "planes.onnx"}
    onnx.save(graph, files["yolo-onnx"])
    # Without the three nodes that make planes of floats from pixels.
    assert [node.output[0] for node in graph.graph.node[:3]][-1] == "input"
    del graph.graph.node[:3]
    del graph.graph.input[:]
    planes = onnx.helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, 416, 416])
    graph.graph.input.append(planes)
    onnx.save(graph, files["yolo-planes"])
    return files


@dataclass(frozen=True)
class Runtimes:
    """The services, with a route to each runtime by the header X-Route-Runtime."""

    services: Routed
    openvino: Service
    files: Path

    def detect(self, runtime: str, picture: bytes = PICTURE, **params: str) -> httpx.Response:
        headers = {"X-Route-Runtime": runtime}
        return self.services.detect(headers=headers, picture=picture, model="emoji", **params)


@pytest.fixture(scope="module")
def runtimes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtimes]:
    folder = tmp_path_factory.mktemp("runtimes")
    files = folder / "files"
    files.mkdir()
    # What preprocess needs of the model: no weights.
    for path in DEMO_MODEL.iterdir():
        if path.suffix in (".cfg", ".names"):
            shutil.copy(path, files)
    name = read_model(DEMO_MODEL).name
    with ExitStack() as running:
        url = running.enter_context(mlserver(folder / "mlserver", write_networks(folder)))
        openvino = running.enter_context(
            inference(folder, DEMO_MODEL, ENGINE="openvino", PRECISION="fp32")
        )
        onnxruntime = running.enter_context(
            inference(folder, DEMO_MODEL, ENGINE="onnxruntime", PRECISION="fp32")
        )
        server = {"url": url, "files": str(files), "heads": HEADS}
        backends: dict[str, Any] = {
            "openvino": {"url": openvino.url, "model": name},
            "onnxruntime": {"url": onnxruntime.url, "model": name},
            "mlserver": {**server, "model": "yolo-onnx", "input": "images"},
            "planes": {**server, "model": "yolo-planes", "full_scale": 1},
            "unscaled": {**server, "model": "yolo-planes"},
            "absent": {**server, "model": "yolo-absent"},
            "mismatched": {**server, "model": "yolo-onnx", "input": "pixels"},
            # Our own inference, taken for a server of another make: it takes binary tensors.
            "binary": {
                "url": openvino.url,
                "model": name,
                "files": str(files),
                "detections": "detections",
                "counts": "counts",
            },
        }
        routes = [
            {"model": "emoji", "headers": {"X-Route-Runtime": one}, "backends": one}
            for one in backends
        ]
        routes.append({"backends": "mlserver"})
        services = running.enter_context(routed(folder, {"backends": backends, "routes": routes}))
        yield Runtimes(services, openvino, files)


def boxes(response: httpx.Response) -> list[Any]:
    assert response.status_code == 200, response.text
    found: list[Any] = response.json()["data"]
    assert len(found) >= 2
    return found


def require_agreement(expected: Sequence[Any], found: Sequence[Any]) -> None:
    assert first_difference(expected, found, px=PIXELS, score=SCORE) is None  # type: ignore[arg-type]


pytestmark = pytest.mark.long


@pytest.mark.parametrize("runtime", ["onnxruntime", "mlserver", "planes", "binary"])
def test_the_boxes_of_all_runtimes_agree(runtimes: Runtimes, runtime: str) -> None:
    expected = boxes(runtimes.detect("openvino"))

    require_agreement(expected, boxes(runtimes.detect(runtime)))


def test_full_scale_is_the_value_of_a_white_pixel(runtimes: Runtimes) -> None:
    """The network of planes was made for values up to 1: up to 255 it finds other things."""
    expected = boxes(runtimes.detect("openvino"))
    found = runtimes.detect("unscaled").json()["data"]

    assert first_difference(expected, found, px=PIXELS, score=SCORE) is not None


def test_the_boxes_of_darknets_own_library_agree(runtimes: Runtimes, tmp_path: Path) -> None:
    if not Path("/usr/lib/darknet/libdarknet.so").exists():
        pytest.skip("needs Debian's darknet, which `make oracle` installs")
    with inference(tmp_path, DEMO_MODEL, ENGINE="darknet") as darknet:
        table = {
            "backends": {"cpu": {"url": runtimes.openvino.url}, "darknet": {"url": darknet.url}},
            "routes": [
                {"headers": {"X-Route-Runtime": "darknet"}, "backends": "darknet"},
                {"backends": "cpu"},
            ],
        }
        with routed(tmp_path, table) as services:
            expected = boxes(services.detect(picture=PICTURE))
            headers = {"X-Route-Runtime": "darknet"}
            found = boxes(services.detect(picture=PICTURE, headers=headers))

            assert services.pictures("darknet") == 1
    require_agreement(expected, found)


def test_the_facts_of_a_third_party_model_are_name_version_and_digest_of_its_files(
    runtimes: Runtimes,
) -> None:
    """The version is the server's if it states one; the weights are the server's own."""
    facts = runtimes.detect("mlserver").json()["model"]

    assert facts == {
        "name": "emoji",
        "version": "v7",
        "digest": read_output_decoder(runtimes.files).digest,
    }


def test_a_third_party_server_is_the_default_where_a_route_says_so(runtimes: Runtimes) -> None:
    response = runtimes.services.detect(picture=PICTURE)

    assert response.json()["model"]["name"] == "yolo-onnx"
    timing = response.headers["Server-Timing"]
    assert "inference;dur=" in timing
    assert "heads;dur=" in timing
    unknown = runtimes.services.detect(picture=PICTURE, model="other")
    assert unknown.status_code == 404
    assert unknown.json()["detail"] == "no model 'other' here; available: 'yolo-onnx'"


def test_thresholds_apply_to_raw_heads(runtimes: Runtimes) -> None:
    strict = runtimes.detect("mlserver", threshold="0.99").json()["data"]
    expected = runtimes.detect("openvino", threshold="0.99").json()["data"]
    all_overlap = len(runtimes.detect("mlserver", threshold="0.1", iou="1").json()["data"])

    assert len(strict) == len(expected) < len(boxes(runtimes.detect("mlserver")))
    assert all_overlap == len(runtimes.detect("openvino", threshold="0.1", iou="1").json()["data"])
    assert all_overlap > len(boxes(runtimes.detect("mlserver")))


def test_an_iou_is_refused_where_the_server_has_applied_its_own(runtimes: Runtimes) -> None:
    refused = runtimes.detect("binary", iou="0.3")
    strict = runtimes.detect("binary", threshold="0.99").json()["data"]

    assert refused.status_code == 422
    assert refused.json()["detail"] == "iou: the server of this model applies a fixed one"
    assert len(strict) == len(runtimes.detect("openvino", threshold="0.99").json()["data"])


def test_a_model_that_the_server_does_not_have_now_is_503(runtimes: Runtimes) -> None:
    absent = runtimes.detect("absent")

    assert absent.status_code == 503
    assert absent.json()["detail"] == "the back end of the model 'emoji' does not have it now"


def test_a_model_that_does_not_fit_its_entry_is_503_and_logged(runtimes: Runtimes) -> None:
    """The caller learns no names of tensors, the operator does."""
    mismatched = runtimes.detect("mismatched")

    assert mismatched.status_code == 503
    assert mismatched.json()["detail"] == (
        "the mismatched service has a model that does not fit the table of routes"
    )
    assert "it has no input 'pixels', but images" in runtimes.services.log()


def test_a_picture_is_drawn_with_the_boxes_of_a_third_party_server(runtimes: Runtimes) -> None:
    headers = {"X-Route-Runtime": "mlserver", "Accept": "image/jpeg"}
    drawn = runtimes.services.detect(picture=PICTURE, headers=headers, model="emoji")

    assert drawn.headers["Content-Type"] == "image/jpeg"


def test_a_third_party_server_is_probed_by_the_paths_of_its_protocol(runtimes: Runtimes) -> None:
    """It has neither /readyz nor /livez."""
    runtimes.detect("mlserver").raise_for_status()

    labels = {"peer": "mlserver", "state": "serving"}
    assert sample(runtimes.services.preprocess, "elastic_yolo_peer_endpoints", **labels) == 1


def test_a_third_party_server_that_comes_late_gets_pictures(
    runtimes: Runtimes, tmp_path: Path
) -> None:
    """It is found by the readiness path of its protocol, and the others serve meanwhile."""
    port = free_port()
    server = {"url": f"http://127.0.0.1:{port}", "files": str(runtimes.files), "heads": HEADS}
    table = {
        "backends": {
            "late": {**server, "model": "yolo-onnx"},
            "own": {"url": runtimes.openvino.url},
        },
        "routes": [{"model": "emoji", "backends": "late"}, {"backends": "own"}],
    }
    with routed(tmp_path, table) as services:
        away, other = services.detect(model="emoji"), services.detect(picture=PICTURE)
        with mlserver(tmp_path / "mlserver", write_networks(tmp_path), port):
            wait_until(
                lambda: services.detect(picture=PICTURE, model="emoji").status_code == 200,
                "the server gets pictures",
            )
        gone = services.detect(model="emoji")

    assert (away.status_code, gone.status_code) == (503, 503)
    assert away.json()["detail"] == "the late service cannot be reached"
    assert len(boxes(other)) == 5


def test_the_example_of_the_page_detects_as_our_own_inference_does(
    runtimes: Runtimes, tmp_path: Path
) -> None:
    """`convert`, MLServer and the table of docs/routing.md, with another address."""
    folder = tmp_path / "mlserver"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("*.onnx"))
    convert = [ROOT / ".venv" / "bin" / "elastic-yolo", "convert", DEMO_MODEL, "--output"]
    subprocess.run([*convert, folder / "demo" / "model.onnx"], check=True)
    section = (ROOT / "docs" / "routing.md").read_text().split("### Example: MLServer")[1]
    _commands, shown, *_ = re.findall(r"(?:^ {4}.*\n)+", section, re.MULTILINE)
    with started(folder) as url:
        table = yaml.safe_load(textwrap.dedent(shown).replace("http://127.0.0.1:8080", url))
        table["backends"]["mlserver"]["files"] = str(runtimes.files)
        table["backends"]["inference"] = {"url": runtimes.openvino.url}
        with routed(tmp_path, table) as services:
            theirs = services.detect(picture=PICTURE, headers={"X-Route-Engine": "mlserver"})
            ours = services.detect(picture=PICTURE)

    require_agreement(boxes(ours), boxes(theirs))
    digests = {response.json()["model"]["digest"] for response in (ours, theirs)}
    assert len(digests) == 2


def test_only_third_party_back_ends_make_preprocess_ready(
    runtimes: Runtimes, tmp_path: Path
) -> None:
    """And /health/status says that there is no golden picture."""
    files = write_tiny_model(tmp_path / "files")
    url = runtimes.openvino.url
    server = {"url": url, "files": str(files), "detections": "detections", "counts": "counts"}
    table = {"backends": {"only": server}, "routes": [{"backends": "only"}]}
    with routed(tmp_path, table) as services:
        status = httpx.get(f"{services.web.url}/health/status")

    assert status.status_code == 503
    assert status.json()["detail"] == "no back end that can be reached has a golden picture"
