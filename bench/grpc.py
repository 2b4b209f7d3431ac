"""The cost of gRPC: the same picture over HTTP and over gRPC, one connection each, one at a time.

The network is a single small convolution, so that the figures are of what surrounds it.

`python -m bench.grpc`; what came of it is in docs/decisions/033-grpc.md.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import numpy as np

from elastic_yolo.detector.boxes import Image
from elastic_yolo.lab.processes import process_tree as proc
from elastic_yolo.lab.processes.stack import LOOPBACK, Service, free_port
from services.inference.grpc import open_inference_pb2 as pb
from services.inference.protocol import HEADER_LENGTH, INPUT_NAME

NAME = "small"
SIZE = 416
_CFG = f"""
[net]
width={SIZE}
height={SIZE}
channels=3

[convolutional]
filters=7
size=1
stride=32
activation=linear

[yolo]
mask=0
anchors=16,8
classes=2
num=1
"""
_TIMING = re.compile(r"(\w+);dur=([\d.]+)")
_METHOD = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True)
class Turn:
    """Medians in milliseconds; CPU is that of the service, for one request."""

    p50_ms: float
    own_ms: float
    """Time in the service, without queue, engine and heads."""
    cpu_ms: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Let both protocols take turns; print the medians of the turns."""
    parser = argparse.ArgumentParser(prog="python -m bench.grpc", description=__doc__)
    parser.add_argument("--turns", type=int, default=7, help="of each protocol (default: 7)")
    parser.add_argument("--requests", type=int, default=150, help="of each turn (default: 150)")
    options = parser.parse_args(arguments)
    port = free_port()
    image: Image = np.full((1, SIZE, SIZE, 3), 128, np.uint8)
    with ExitStack() as opened:
        model = _write_model(Path(opened.enter_context(TemporaryDirectory())))
        env = {"MODEL_PATH": str(model), "GRPC_PORT": str(port), "LOG_LEVEL": "warning"}
        service = opened.enter_context(Service("inference", free_port(), env))
        service.wait_ready()
        channel = opened.enter_context(grpc.insecure_channel(f"{LOOPBACK}:{port}"))
        senders = {
            "HTTP": _over_http(service.port, image),
            "gRPC": _over_grpc(channel, image),
        }
        turns: dict[str, list[Turn]] = {name: [] for name in senders}
        for _ in range(options.turns):
            for name, send in senders.items():
                turns[name].append(_take_turn(service, send, options.requests))
    print("| protocol | p50 ms | own ms | CPU ms |\n|---|---:|---:|---:|")
    for name, taken in turns.items():
        figures = (
            statistics.median(getattr(turn, field) for turn in taken)
            for field in ("p50_ms", "own_ms", "cpu_ms")
        )
        print(f"| {name} | {' | '.join(f'{figure:.2f}' for figure in figures)} |")


def _write_model(folder: Path) -> Path:
    """Write a model that finds nothing, and return its folder."""
    (folder / f"{NAME}.cfg").write_text(_CFG)
    (folder / f"{NAME}.names").write_text("a\nb\n")
    header = np.array([0, 2, 0], "<i4").tobytes() + bytes(8)
    biases = np.array([0, 0, 0, 0, -9, 0, 0], "<f4").tobytes()
    (folder / f"{NAME}.weights").write_bytes(header + biases + bytes(4 * 7 * 3))
    return folder


def _take_turn(service: Service, send: Callable[[], str], requests: int) -> Turn:
    for _ in range(10):
        send()
    latencies, own = [], []
    cpu_s = proc.cpu_s(service.process.pid)
    for _ in range(requests):
        begun = time.perf_counter()
        timing = send()
        latencies.append(1000 * (time.perf_counter() - begun))
        spent = {name: float(duration) for name, duration in _TIMING.findall(timing)}
        own.append(spent["inference"] - spent["queue"] - spent["engine"] - spent["heads"])
    cpu_ms = 1000 * (proc.cpu_s(service.process.pid) - cpu_s) / requests
    return Turn(statistics.median(latencies), statistics.median(own), cpu_ms)


def _over_http(port: int, image: Image) -> Callable[[], str]:
    """Return a function that sends the picture in the binary tensor extension."""
    connection = http.client.HTTPConnection(LOOPBACK, port)
    tensor = {
        "name": INPUT_NAME,
        "datatype": "UINT8",
        "shape": image.shape,
        "parameters": {"binary_data_size": image.nbytes},
    }
    parameters = {"binary_data_output": True}
    head = json.dumps({"inputs": [tensor], "parameters": parameters}).encode()
    body, headers = head + image.tobytes(), {HEADER_LENGTH: str(len(head))}

    def send() -> str:
        connection.request("POST", f"/v2/models/{NAME}/infer", body, headers)
        response = connection.getresponse()
        content = response.read()
        assert response.status == http.client.OK, content
        return response.headers["Server-Timing"]

    return send


def _over_grpc(channel: grpc.Channel, image: Image) -> Callable[[], str]:
    """Return a function that sends the picture as raw contents."""
    request = pb.ModelInferRequest(model_name=NAME, raw_input_contents=[image.tobytes()])
    request.inputs.add(name=INPUT_NAME, datatype="UINT8", shape=image.shape)
    method = channel.unary_unary(
        _METHOD,
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelInferResponse.FromString,
    )

    def send() -> str:
        _, call = method.with_call(request)
        return str(dict(call.trailing_metadata() or ())["server-timing"])

    return send


if __name__ == "__main__":
    main()
