"""Several inference processes on one machine, as with `make up INFERENCE=2`."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx

from bench.pipeline.scaling import answered
from elastic_yolo.lab.processes.stack import ROOT, Stack, reserve_port
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


def test_processes_never_get_the_same_free_port_meanwhile() -> None:
    program = (
        "from elastic_yolo.lab.processes.stack import free_port\n"
        "ports = [free_port() for _ in range(60)]\n"
        "print(*ports, flush=True); input()\n"
    )
    command = [sys.executable, "-c", program]
    with ExitStack() as running:
        processes = [
            running.enter_context(
                subprocess.Popen(
                    command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            )
            for _ in range(4)
        ]
        lines = [one.stdout.readline() for one in processes if one.stdout]
        ports = [int(port) for line in lines for port in line.split()]
        refused = [reserve_port(port) is None for port in ports]
        for one in processes:
            one.communicate("\n")

    assert len(set(ports)) == len(ports) == 240
    assert refused == [True] * 240
    assert [one.returncode for one in processes] == [0] * 4
