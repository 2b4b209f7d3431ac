"""Several inference processes on one machine, as with `make up INFERENCE=2`."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx

from bench.pipeline.scaling import answered
from elastic_yolo.lab.processes.stack import Stack
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model

PICTURE = {"image": encode(plain(64, 48), "JPEG")}


def test_both_inference_processes_serve_and_one_suffices(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model")
    with Stack(model=model, logs=tmp_path, copies=2) as stack, httpx.Client() as client:

        def send(count: int) -> set[int]:
            url = f"{stack.web.url}/inference"
            return {client.post(url, files=PICTURE).status_code for _ in range(count)}

        assert send(40) == {200}
        assert min(answered(one) for one in (stack.inference, *stack.copies)) > 5

        stack.inference.process.send_signal(signal.SIGKILL)
        stack.inference.process.wait()

        assert send(10) == {200}
        assert stack.serves()

        stack.web.stop()
        assert not stack.serves()
