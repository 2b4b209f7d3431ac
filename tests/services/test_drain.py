"""SIGTERM: not ready, still serving, then exit status 0."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from elastic_yolo.lab.processes.stack import ROOT, Service, Stack
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model
from tests.support.waiting import in_flight, wait_until

JPEG = encode(plain(64, 48), "JPEG")


@pytest.mark.parametrize("name", ["web", "preprocess", "inference"])
def test_a_draining_service_finishes_and_accepts_requests(tmp_path: Path, name: str) -> None:
    # Longer than any machine takes: the second signal ends it.
    delay = {name: {"DRAIN_DELAY_S": "600"}}
    with Stack(model=write_tiny_model(tmp_path / "model"), logs=tmp_path, env=delay) as stack:
        draining: Service = getattr(stack, name)
        following = {"web": stack.preprocess, "preprocess": stack.inference}.get(name)
        with ThreadPoolExecutor() as threads:
            if following is not None:
                os.kill(following.process.pid, signal.SIGSTOP)
            waiting = threads.submit(
                httpx.post, f"{stack.web.url}/inference", files={"image": JPEG}, timeout=60
            )
            if following is not None:
                wait_until(lambda: in_flight(draining.url) == 1, "a request is in flight")
            draining.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "draining" in httpx.get(f"{draining.url}/readyz").text, "not ready")
            alive = httpx.get(f"{draining.url}/livez")
            if following is not None:
                os.kill(following.process.pid, signal.SIGCONT)
            answer = waiting.result()
            draining.process.send_signal(signal.SIGTERM)
            status = draining.process.wait(20)

    assert alive.status_code == 200
    assert answer.status_code == 200
    assert answer.json()["data"][0][0] == "square"
    assert status == 0


def test_ctrl_c_skips_the_drain_delay(tmp_path: Path) -> None:
    """With the delay of ten minutes this test would exceed its timeout."""
    env = {"MODEL_PATH": str(write_tiny_model(tmp_path / "model")), "DRAIN_DELAY_S": "600"}
    with Stack(model=tmp_path / "model", logs=tmp_path, env={"inference": env}) as stack:
        stack.inference.process.send_signal(signal.SIGINT)

        assert stack.inference.process.wait(20) == 0


def test_a_second_signal_ends_the_drain_delay(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model")
    with Stack(model=model, logs=tmp_path, env={"web": {"DRAIN_DELAY_S": "600"}}) as stack:
        process = stack.web.process
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: "draining" in httpx.get(f"{stack.web.url}/readyz").text, "draining")
        process.send_signal(signal.SIGTERM)

        assert process.wait(20) == 0


EARLY_SIGNAL = """\
import gc, os, signal
# The last step before uvicorn sets its handlers.
gc.freeze = lambda: os.kill(os.getpid(), signal.SIGTERM)
from services.web.__main__ import main
main()
"""


def test_a_signal_at_the_end_of_the_start_is_not_lost() -> None:
    """A lost one would leave the process running, and this test would exceed its timeout."""
    settings = {"PORT": "0", "HOST": "127.0.0.1", "PREPROCESS_URL": "http://127.0.0.1:1"}
    ended = subprocess.run(
        [sys.executable, "-c", EARLY_SIGNAL],
        env={**os.environ, **settings},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert '"draining"' in ended.stderr
