"""What autoscalers want: from a recorded answer of the API server, a real server, a lab's file."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from elastic_yolo.lab.timeline import Sample, append_samples
from services.web.live.autoscalers import ApiServer, Kubernetes, LabFile, Scaler, read_hpas
from tests.support.certificates import Authority

pytestmark = pytest.mark.anyio
PATIENCE_S = 60

# As autoscaling/v2 of Kubernetes 1.34 answers; shortened.
HPAS = {
    "kind": "HorizontalPodAutoscalerList",
    "apiVersion": "autoscaling/v2",
    "metadata": {"resourceVersion": "81234"},
    "items": [
        {
            "metadata": {"name": "inference", "namespace": "elastic-yolo"},
            "spec": {
                "scaleTargetRef": {
                    "kind": "Deployment",
                    "name": "inference",
                    "apiVersion": "apps/v1",
                },
                "minReplicas": 1,
                "maxReplicas": 6,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {
                            "name": "cpu",
                            "target": {"type": "Utilization", "averageUtilization": 70},
                        },
                    }
                ],
            },
            "status": {
                "lastScaleTime": "2026-11-29T20:11:02Z",
                "currentReplicas": 2,
                "desiredReplicas": 6,
                "currentMetrics": [
                    {
                        "type": "Resource",
                        "resource": {
                            "name": "cpu",
                            "current": {"averageUtilization": 181, "averageValue": "1810m"},
                        },
                    }
                ],
                "conditions": [
                    {
                        "type": "AbleToScale",
                        "status": "True",
                        "reason": "SucceededRescale",
                        "message": "the HPA controller was able to update the target scale to 6",
                    },
                    {
                        "type": "ScalingActive",
                        "status": "True",
                        "reason": "ValidMetricFound",
                        "message": "the HPA was able to successfully calculate a replica count",
                    },
                    {
                        "type": "ScalingLimited",
                        "status": "True",
                        "reason": "TooManyReplicas",
                        "message": "the desired replica count is more than the maximum",
                    },
                ],
            },
        },
        {
            "metadata": {"name": "keda-hpa-preprocess", "namespace": "elastic-yolo"},
            "spec": {
                "scaleTargetRef": {"kind": "Deployment", "name": "preprocess"},
                "maxReplicas": 10,
                "metrics": [
                    {
                        "type": "External",
                        "external": {
                            "metric": {"name": "s0-metric-api-elastic_yolo_queue_waiting"},
                            "target": {"type": "AverageValue", "averageValue": "8"},
                        },
                    }
                ],
            },
            "status": {
                "currentReplicas": 1,
                "desiredReplicas": 0,
                "currentMetrics": None,
                "conditions": [
                    {
                        "type": "ScalingActive",
                        "status": "False",
                        "reason": "FailedGetExternalMetric",
                        "message": "unable to get external metric",
                    }
                ],
            },
        },
        {
            "metadata": {"name": "other"},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "other"}, "maxReplicas": 2},
            "status": {"currentReplicas": 1, "desiredReplicas": 1},
        },
        {
            "metadata": {"name": "web"},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 2},
        },
    ],
}
EXPECTED = {
    "inference": Scaler(2, 6, 1, 6, "cpu 181 % of 70 %, TooManyReplicas"),
    "preprocess": Scaler(1, 0, 1, 10, "FailedGetExternalMetric: unable to get external metric"),
    "web": Scaler(0, 0, 1, 2, ""),
}


def test_the_answer_of_the_api_server_is_read() -> None:
    assert read_hpas(json.dumps(HPAS).encode()) == EXPECTED


@pytest.mark.parametrize("answer", [b"", b"[]", b'{"items": [{"spec": {}}]}'])
def test_another_answer_is_refused(answer: bytes) -> None:
    with pytest.raises(ValueError, match="validation error"):
        read_hpas(answer)


class ApiServerDouble:
    """A server with TLS that answers as the API server does, and remembers what it was asked."""

    def __init__(self, folder: Path) -> None:
        authority = Authority.create(folder)
        self.account = folder
        self.asked: list[tuple[str, str | None]] = []
        double = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                double.asked.append((self.path, self.headers["Authorization"]))
                body = json.dumps(HPAS).encode()
                allowed = self.headers["Authorization"] == "Bearer of the pod"
                self.send_response(200 if allowed else 403)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue())
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        (folder / "ca.crt").write_bytes(authority.ca_file.read_bytes())
        (folder / "namespace").write_text("elastic-yolo\n")
        (folder / "token").write_text("of the pod\n")

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server.server_port}"
