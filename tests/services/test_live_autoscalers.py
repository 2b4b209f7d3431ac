"""What autoscalers want: from a recorded answer of the API server, a real server, a lab's file."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import threading
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


class Server(HTTPServer):
    """Answers as the API server does, to those who have the token of the pod."""

    def __init__(self, account: Path) -> None:
        """Write the account's files, and listen with TLS."""
        super().__init__(("127.0.0.1", 0), _Handler)
        pair = Authority().write_pair(account, ["127.0.0.1"])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(account / "tls.crt", account / "tls.key")
        self.socket = context.wrap_socket(self.socket, server_side=True)
        (account / "namespace").write_text("elastic-yolo\n")
        (account / "token").write_text("of-the-pod\n")
        self.asked: list[str] = []
        del pair


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked.append(self.path)
        body = json.dumps(HPAS).encode()
        self.send_response(200 if self.headers["Authorization"] == "Bearer of-the-pod" else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


async def read_until(source: Kubernetes, expected: dict[str, Scaler]) -> None:
    """Read as often as the collector does until the answer is the expected one."""
    async with asyncio.timeout(PATIENCE_S):
        # As the collector does: there is no event for an answer.
        while await source.read() != expected:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_the_api_server_is_asked_for_the_autoscalers_of_the_namespace(
    server: Server, tmp_path: Path
) -> None:
    """With the token of the pod, which the kubelet renews."""
    source = Kubernetes(ApiServer(f"https://127.0.0.1:{server.server_port}", tmp_path))
    try:
        assert await source.read() == {}  # it never makes anyone wait
        await read_until(source, EXPECTED)
        (tmp_path / "token").write_text("revoked")
        await read_until(source, {})
        (tmp_path / "token").write_text("of-the-pod")
        await read_until(source, EXPECTED)
    finally:
        await source.close()

    path = "/apis/autoscaling/v2/namespaces/elastic-yolo/horizontalpodautoscalers"
    assert set(server.asked) == {path}


async def test_a_server_of_another_authority_is_not_asked(server: Server, tmp_path: Path) -> None:
    other = tmp_path / "other"
    Authority().write_pair(other, ["127.0.0.1"])
    for name in ("namespace", "token"):
        (other / name).write_text("x")
    source = Kubernetes(ApiServer(f"https://127.0.0.1:{server.server_port}", other))
    await source.read()
    assert source._asking is not None  # noqa: SLF001  # its end
    await source._asking  # noqa: SLF001

    assert await source.read() == {}
    await source.close()
    assert server.asked == []


def sample(desired: int, why: str, tier: str = "inference") -> Sample:
    return Sample(1.0, tier, 1, 1, desired, 70, why=why)


async def test_the_file_of_the_lab_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "autoscalers.jsonl"
    source = LabFile(path)

    assert await source.read() == {}
    append_samples(path, [sample(1, "stays at 1"), sample(2, "1 -> 2", "web")])
    assert (await source.read())["inference"] == Scaler(1, 1, None, None, "stays at 1")
    with path.open("a") as file:
        file.write('{"tier": "inference", "replicas": 1, ')
    append = sample(3, "1 -> 3: 103 % > 70 %")
    assert (await source.read())["inference"].desired == 1
    path.write_text("")
    append_samples(path, [append])
    found = await source.read()
    assert found["inference"] == Scaler(1, 3, None, None, "103 % > 70 %")
    assert found["web"].desired == 2


async def test_a_pipe_in_place_of_the_file_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "autoscalers.jsonl"
    os.mkfifo(path)

    assert await LabFile(path).read() == {}


async def test_of_a_long_file_only_the_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "autoscalers.jsonl"
    append_samples(path, [sample(number % 7, "x" * 100) for number in range(9000)])
    append_samples(path, [sample(5, "last")])

    assert path.stat().st_size > 1 << 20
    assert (await LabFile(path).read())["inference"] == Scaler(1, 5, None, None, "last")
