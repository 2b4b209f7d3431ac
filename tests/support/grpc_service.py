"""An inference process with gRPC, and a client made of grpcio and the .proto file alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from elastic_yolo.detector.boxes import Floats, Image
from elastic_yolo.lab.processes.stack import LOOPBACK, Service, free_port
from services.inference.grpc import open_inference_pb2 as pb
from tests.support.tiny import write_tiny_model

SERVICE = "inference.GRPCInferenceService"
_METHODS = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name


@dataclass
class Outcome:
    """How a call ended. `metadata` is what came behind the response."""

    code: grpc.StatusCode
    details: str
    metadata: dict[str, str]
    response: Any = None


class GrpcClient:
    """Calls the methods of one server."""

    def __init__(self, channel: grpc.Channel) -> None:
        """Take an open channel."""
        self.channel = channel

    def call(self, method: str, request: Message | None = None, **options: Any) -> Any:
        """Return the response; raises grpc.RpcError."""
        return self.start(method, request, **options).result()

    def outcome(self, method: str, request: Message | None = None, **options: Any) -> Outcome:
        """Return how a call ends, successful or not."""
        called = self.start(method, request, **options)
        response = called.result() if called.code() is grpc.StatusCode.OK else None
        metadata = dict(called.trailing_metadata() or ())
        return Outcome(called.code(), called.details() or "", metadata, response)

    def start(self, method: str, request: Message | None = None, **options: Any) -> Any:
        """Start a call and return its future."""
        described = _METHODS[method]
        kinds = vars(pb)
        send = self.channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=kinds[described.output_type.name].FromString,
        )
        message = kinds[described.input_type.name]() if request is None else request
        return send.future(message, **{"timeout": 30, **options})

    def send_bytes(self, message: bytes, method: str = "ModelInfer", **options: Any) -> Outcome:
        """Send any bytes as a message."""
        called = self.channel.unary_unary(f"/{SERVICE}/{method}").future(
            message, **{"timeout": 30, **options}
        )
        return Outcome(
            called.code(), called.details() or "", dict(called.trailing_metadata() or ())
        )


@contextmanager
def grpc_service(
    folder: Path, model: Path | None = None, **env: str
) -> Iterator[tuple[Service, GrpcClient]]:
    """Run the inference service with the tiny model by default; its log is FOLDER/log."""
    path = write_tiny_model(folder / "model") if model is None else model
    port = free_port()
    settings = {"MODEL_PATH": str(path), "GRPC_PORT": str(port), **env}
    with Service("inference", free_port(), settings, folder / "log") as service:
        service.wait_ready()
        options = [("grpc.max_send_message_length", -1), ("grpc.enable_http_proxy", 0)]
        with grpc.insecure_channel(f"{LOOPBACK}:{port}", options) as channel:
            yield service, GrpcClient(channel)


def infer_request(
    images: Image | None = None,
    *,
    outputs: Sequence[str] = (),
    parameters: Mapping[str, Any] | None = None,
    **fields: Any,
) -> pb.ModelInferRequest:
    """Return a request for the tiny model, with (n, h, w, 3) pixels as raw contents."""
    request = pb.ModelInferRequest(**{"model_name": "tiny", **fields})
    if images is not None:
        datatype = "UINT8" if images.dtype == np.uint8 else "FP32"
        request.inputs.add(name="images", datatype=datatype, shape=images.shape)
        request.raw_input_contents.append(images.tobytes())
    for name in outputs:
        request.outputs.add(name=name)
    for name, value in (parameters or {}).items():
        kind = {bool: "bool", int: "int64", str: "string", float: "double"}[type(value)]
        setattr(request.parameters[name], f"{kind}_param", value)
    return request


def tensors(response: pb.ModelInferResponse) -> dict[str, NDArray[Any]]:
    """Return the outputs of a response by name, in its order."""
    kinds = {"FP32": "<f4", "INT64": "<i8"}
    return {
        output.name: np.frombuffer(raw, kinds[output.datatype]).reshape(list(output.shape))
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def rows(response: pb.ModelInferResponse) -> Floats:
    """Return the detections of a response, (k, 6) float32."""
    return tensors(response)["detections"]
