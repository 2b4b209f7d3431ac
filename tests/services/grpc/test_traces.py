"""A call has a span of its own, a child of the caller's, with its phases."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from services.inference.grpc import open_inference_pb2 as pb
from tests.support.collector import Collector
from tests.support.grpc_service import SERVICE, grpc_service, infer_request
from tests.support.tracing import caller

PIXELS = np.zeros((1, 32, 32, 3), np.uint8)


def test_a_call_is_a_span_with_its_phases_and_its_model(tmp_path: Path) -> None:
    sender, unknown = caller(), caller()
    with Collector().running() as collector:
        with grpc_service(tmp_path, **collector.env) as (_, client):
            client.call("ServerLive", metadata=tuple(caller().headers.items()))
            client.call("ModelInfer", infer_request(PIXELS), metadata=[*sender.headers.items()])
            missing = pb.ModelConfigRequest(name="absent")
            client.outcome("ModelConfig", missing, metadata=[*unknown.headers.items()])
            spans = collector.wait(sender.trace_id, sender.span_id)
            (failed,) = collector.wait(unknown.trace_id, unknown.span_id)

        names = {span.name for span in collector.spans}

    server = spans[0]
    path = f"/{SERVICE}/ModelInfer"
    assert (server.name, server.kind, server.parent) == (f"POST {path}", "SERVER", sender.span_id)
    assert server.attributes["http.route"] == path
    assert server.attributes["network.protocol.version"] == "2"
    assert server.attributes["elastic_yolo.model.name"] == "tiny"
    assert {span.name for span in spans[1:]} == {"queue", "engine", "heads"}
    assert {span.parent for span in spans[1:]} == {server.span_id}
    assert failed.attributes["http.response.status_code"] == 404
    assert not any("ServerLive" in name for name in names), "probes have no spans"
