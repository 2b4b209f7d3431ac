"""The latency of requests while a measurement runs, against that of the same run without one."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

import pytest

from elastic_yolo.detector.boxes import Image
from elastic_yolo.detector.machine import describe_cpu
from elastic_yolo.detector.model import read_model
from elastic_yolo.lab.processes.stack import DEMO_MODEL, Service
from services.inference.measuring.process import MeasurementFailed, MeasuringProcess
from services.inference.measuring.task import Task
from tests.support.background import demo_images, infer, measuring

WINDOWS = 8
WINDOW_S = 3.0


@contextmanager
def measurements(images: list[Image]) -> Iterator[None]:
    """Measure over and over, each time with an empty cache, until the block ends."""
    process, ended = MeasuringProcess(), Event()

    def repeat() -> None:
        while not ended.is_set():
            with TemporaryDirectory() as cache:
                task = Task(
                    parent=os.getpid(),
                    model=DEMO_MODEL,
                    cache_key=read_model(DEMO_MODEL).cache_key,
                    cache=Path(cache),
                    engine="openvino",
                    device="cpu",
                    threads=2,
                    precisions=("fp32", "bf16", "int8"),
                    folder=None,
                    required=1,
                    received=len(images),
                )
                try:
                    process.run(task, images)
                except MeasurementFailed:
                    # The kernel reports how the process ended; only `close` ends it here.
                    assert ended.is_set()

    thread = Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        process.close()
        thread.join()


def send_for_a_while(service: Service, images: list[Image]) -> list[float]:
    """Send pictures, fifty milliseconds apart, and return the milliseconds of each."""
    took, until = [], time.monotonic() + WINDOW_S
    while time.monotonic() < until:
        started = time.perf_counter()
        response = infer(service, images[len(took) % len(images)])
        took.append((time.perf_counter() - started) * 1000)
        assert response.status_code == 200
        time.sleep(0.05)
    return took


@pytest.mark.long
def test_the_median_latency_less_than_doubles_while_measuring(tmp_path: Path) -> None:
    """The two take turns, so that both meet what else the machine does."""
    images, without, during = demo_images(), list[float](), list[float]()
    with measuring(tmp_path / "service", tmp_path / "cache", PRECISION="fp32") as service:
        for _ in range(WINDOWS):
            without += send_for_a_while(service, images)
            with measurements(images):
                during += send_for_a_while(service, images)

    medians = [statistics.median(part) for part in (without, during)]
    print(  # noqa: T201  # figures for docs/performance.md: run with -s
        f"\n{describe_cpu()}, load {os.getloadavg()[0]:.0f}: p50 {medians[0]:.1f} ms without, "
        f"{medians[1]:.1f} ms while measuring; {len(without)} and {len(during)} requests"
    )
    assert medians[1] < 2 * medians[0]
