"""A new pod of the lab learns which pods of the next service exist."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from elastic_yolo.lab.processes.pod import PodProcess, count_peers, list_models
from elastic_yolo.lab.processes.stack import LOOPBACK, Stack, free_port
from tests.support.tiny import write_tiny_model

pytestmark = pytest.mark.anyio


async def test_a_pod_learns_within_a_few_requests_which_pods_do_not_exist(tmp_path: Path) -> None:
    """Of eight addresses one has a pod. Results of deep health checks are kept for 5 s."""
    absent = ",".join(f"http://{LOOPBACK}:{free_port()}" for _ in range(7))
    with Stack(model=write_tiny_model(tmp_path / "tiny"), logs=tmp_path) as stack:
        urls = f"{stack.preprocess.url},{absent}"
        service = replace(
            stack.web,
            port=free_port(),
            env={**stack.web.env, "PREPROCESS_URL": urls},
            log=tmp_path / "pod.log",
        )
        with service:
            service.wait_ready()
            pod = PodProcess("web-2", service, 0.0, tmp_path / "pod.log")
            sent = 0
            while await count_peers(pod, "preprocess") != 1 and sent < 100:
                sent += 1
                assert await list_models(pod)

    assert 0 < sent < 100
