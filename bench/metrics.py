"""Measure the CPU cost of metrics per picture and tier, and compare it with the whole cost."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable

import numpy as np

from elastic_yolo.detector.machine import describe_cpu
from elastic_yolo.lab.load.client import send_once
from elastic_yolo.lab.load.wire import Target
from elastic_yolo.lab.processes.process_tree import cpu_s
from elastic_yolo.lab.processes.stack import ROOT, Service, Stack
from elastic_yolo.picture.header import read_header
from services.common.observe.telemetry import Metrics
from services.common.request.context import Timings
from services.inference.scheduler import RunTimes
from services.inference.versions.drift import DriftWatch
from services.inference.versions.model_metrics import ModelMetrics
from services.web.routes import PictureMetrics

_SCRAPE_EVERY_S = 15
_ROUNDS = 7
_CALLS = 2000
_PICTURES = 300
_SCRAPES = 50
_PICTURE = ROOT / "client" / "images"
_PHASES = {
    "web": (),
    "preprocess": ("decode_queue", "decode", "letterbox"),
    "inference": ("queue", "engine", "heads"),
}


def main() -> None:
    """Print the table."""
    print(f"{describe_cpu()}\n")
    counting = {tier: _counting_us(tier) for tier in _PHASES}
    picture = min(_PICTURE.glob("*.jpg")).read_bytes()
    print("| tier | CPU per picture | metrics | share | CPU per scrape | share of the time |")
    print("|---|---|---|---|---|---|")
    with Stack() as stack:
        _send(stack, picture)  # warm
        whole, services = 0.0, (stack.web, stack.preprocess, stack.inference)
        before = [cpu_s(service.process.pid) for service in services]
        _send(stack, picture)
        spent = [
            (cpu_s(service.process.pid) - start) / _PICTURES * 1e6
            for service, start in zip(services, before, strict=True)
        ]
        for service, picture_us in zip(services, spent, strict=True):
            scrape_us, count_us = _scrape_us(service), counting[service.name]
            whole += count_us
            print(
                f"| {service.name} | {picture_us / 1000:.2f} ms | {count_us:.0f} us "
                f"| {count_us / picture_us:.1%} | {scrape_us / 1000:.1f} ms "
                f"| {scrape_us / 1e6 / _SCRAPE_EVERY_S:.2%} |"
            )
        print(f"| all | {sum(spent) / 1000:.2f} ms | {whole:.0f} us | {whole / sum(spent):.1%} | |")


def _send(stack: Stack, picture: bytes) -> None:
    for _ in range(_PICTURES):
        asyncio.run(send_once(Target(f"{stack.web.url}/inference"), picture))


def _counting_us(tier: str) -> float:
    """Return the median microseconds of CPU for one picture's metrics in a tier."""
    count = _counter(tier)
    rounds = []
    for _ in range(_ROUNDS):
        started = time.process_time()
        for _ in range(_CALLS):
            count()
        rounds.append((time.process_time() - started) / _CALLS * 1e6)
    return statistics.median(rounds)


def _counter(tier: str) -> Callable[[], None]:
    """Return a function that updates the same metrics as the tier does for a picture."""
    metrics, timings = Metrics(tier), Timings()
    for phase in _PHASES[tier]:
        timings.add_ms(phase, 1.5)
    pictures = PictureMetrics(metrics) if tier == "web" else None
    header = read_header(min(_PICTURE.glob("*.jpg")).read_bytes())
    models = ModelMetrics(metrics) if tier == "inference" else None
    drift = DriftWatch(("a", "b"), 0.5, 0.45, None)
    images = np.zeros((1, 416, 416, 3), np.uint8)
    found = [np.array([[8, 12, 24, 20, 0.9, 0]] * 4, np.float32)]

    def count() -> None:
        metrics.in_flight.inc()
        metrics.in_flight.dec()
        metrics.count_request("/inference", "POST", 200, 0.03)
        metrics.count_phases(timings.own_phases())
        if pictures is not None:
            pictures.count_picture(80_000, header)
        if models is not None:
            models.count_run("yolov3", "1", 1, RunTimes(0, 0.02, 0))
            models.count_prediction("yolov3", "1", 1, 0.02)
            drift.record_prediction(images, found)

    return count


def _scrape_us(service: Service) -> float:
    started = cpu_s(service.process.pid)
    for _ in range(_SCRAPES):
        service.get("/metrics")
    return (cpu_s(service.process.pid) - started) / _SCRAPES * 1e6


if __name__ == "__main__":
    main()
