"""Switches of a model's version under load, and their effect on latency and memory.

Both versions have the same weights, so that every response has the same boxes and takes as long.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.models import quantise
from bench.pipeline.services import inference_settings
from bench.pipeline.turns import TurnRunner
from client.percentile import percentile
from elastic_yolo.detector.model import read_model
from elastic_yolo.digest import digest_of_file
from elastic_yolo.durable import make_folder
from elastic_yolo.lab.load.client import Sample
from elastic_yolo.lab.load.wire import Target
from elastic_yolo.lab.processes import process_tree as proc
from elastic_yolo.lab.processes.stack import Service, Stack
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.writer import Writer

LOAD_S = 60.0
"""The duration of the load; if a version takes long to load, there are fewer switches."""
SWAPS = 20
SHARE = 0.5
"""The offered rate as a part of the capacity."""
_NAME = "changing"
_CALM_S = 10.0
_BETWEEN_S = 1.0
_POLL_S = 0.2
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Swaps:
    """The results; times in milliseconds, from when a request was due."""

    swaps: int
    per_s: float
    """Requests per second."""
    calm_p50_ms: float
    calm_p99_ms: float
    """Before the first switch."""
    p50_ms: float
    p99_ms: float
    longest_ms: float
    there_after_s: float
    """The median from pointing the channel until the new version serves, including polls."""
    rss_mb: list[float]
    """Of the inference process: before, after half of the switches, after all of them."""
    answers: int
    failed: int
    """Responses other than 200 with the expected detections."""


def change_model(
    runner: TurnRunner, model: Path, cache: Path, precision: str, threshold: float, per_s: float
) -> Swaps:
    """Switch back and forth under a load of `per_s`; raises StackError or ProcessFailed."""
    with tempfile.TemporaryDirectory(prefix="elastic-yolo-") as folder:
        writer = Writer(Layout(Path(folder) / "store"))
        ids = publish_twice(writer, model, Path(folder) / "second", precision)
        with _serving(writer.layout.root, cache, precision, Path(folder)) as up:
            target = Target(f"{up.web.url}/inference?threshold={threshold}")
            started = time.monotonic()
            runner.start(target, {"rate": per_s, "seconds": LOAD_S})
            time.sleep(_CALM_S)
            calm_s = time.monotonic() - started
            rss, waits = [_rss_mb(up.inference)], []
            for number in range(1, SWAPS + 1):
                waits.append(_switch(writer, up.inference, ids[number % 2]))
                time.sleep(_BETWEEN_S)
                rss.append(_rss_mb(up.inference))
                if time.monotonic() - started > LOAD_S - waits[-1] - _BETWEEN_S:
                    break
            samples, _, _ = runner.finish()
    return summarise(samples, per_s, calm_s, waits, rss)


def summarise(
    samples: list[Sample], per_s: float, calm_s: float, waits: list[float], rss: list[float]
) -> Swaps:
    """Return the results; the first switch was `calm_s` seconds after the start."""
    right = [sample for sample in samples if sample.correct]
    calm = [sample.latency_ms for sample in right if sample.scheduled_s < calm_s]
    swapping = [sample.latency_ms for sample in right if sample.scheduled_s >= calm_s]
    return Swaps(
        swaps=len(waits),
        per_s=per_s,
        calm_p50_ms=percentile(calm, 50),
        calm_p99_ms=percentile(calm, 99),
        p50_ms=percentile(swapping, 50),
        p99_ms=percentile(swapping, 99),
        longest_ms=max(swapping, default=0.0),
        there_after_s=statistics.median(waits),
        rss_mb=[rss[0], rss[len(rss) // 2], rss[-1]],
        answers=len(samples),
        failed=len(samples) - len(right),
    )


def publish_twice(writer: Writer, model: Path, second: Path, precision: str) -> list[str]:
    """Publish a model twice, the second time with a comment in its .cfg; return the ids."""
    shutil.copytree(model, second)
    # It has the digest of the original .cfg.
    (second / "model.yaml").unlink(missing_ok=True)
    cfg = read_model(second).cfg
    cfg.write_text("# a second version\n" + cfg.read_text(encoding="utf-8"), encoding="utf-8")
    if precision == "int8":
        quantise(read_model(second))
    ids = [_put(writer, folder, version) for version, folder in (("1", model), ("2", second))]
    writer.switch_channel(_NAME, "stable", ids[0])
    return ids


def _put(writer: Writer, folder: Path, version: str) -> str:
    make_folder(writer.layout.incoming)
    files = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in (".cfg", ".weights", ".names"):
            part = writer.layout.incoming / path.name
            shutil.copyfile(path, part)
            files[path.name] = writer.add_blob(part, digest_of_file(part))
    return writer.publish(_NAME, version, files, "a benchmark", lambda _: None).id


@contextmanager
def _serving(store: Path, cache: Path, precision: str, logs: Path) -> Iterator[Stack]:
    settings = {**inference_settings(cache, precision), "MODEL_POLL_S": str(_POLL_S)}
    place = f"store:{store}/{_NAME}@stable"
    with Stack(model=place, logs=logs, env={"inference": settings}) as stack:
        yield stack


def _switch(writer: Writer, service: Service, identity: str) -> float:
    """Point the channel to a version and return the seconds until it is served."""
    started = time.monotonic()
    writer.switch_channel(_NAME, "stable", identity)
    while time.monotonic() - started < _TIMEOUT_S:
        served = json.loads(service.get(f"/v2/models/{_NAME}"))["versions"][0]
        if identity.startswith(f"{served}-"):
            break
        time.sleep(_POLL_S / 10)
    return time.monotonic() - started


def _rss_mb(service: Service) -> float:
    return proc.memory(service.process.pid).rss_mb
