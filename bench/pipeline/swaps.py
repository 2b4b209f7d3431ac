"""A model that is changed under load, again and again: what that costs those who ask meanwhile.

Both versions have the same weights, so that every answer has the same boxes, and take as long.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.models import quantise
from bench.pipeline.figures import percentile
from bench.pipeline.services import inference_settings
from bench.pipeline.turns import Track
from elastic_yolo.detector.model import read_model
from elastic_yolo.digest import digest_of_file
from elastic_yolo.durable import make_folder
from elastic_yolo.lab.load.client import Sample
from elastic_yolo.lab.load.wire import Target
from elastic_yolo.lab.processes import process_tree as proc
from elastic_yolo.lab.processes.stack import Service, Stack
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.writer import Writer

COURSE_S = 60.0
"""How long the load lasts; fewer switches fit in where a version takes long to load."""
SWAPS = 20
SHARE = 0.5
"""Of what the services could answer at most."""
_NAME = "changing"
_CALM_S = 10.0
_BETWEEN_S = 1.0
_POLL_S = 0.2
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Swaps:
    """What was seen; times are milliseconds of requests, counted from when they were due."""

    swaps: int
    per_s: float
    """Requests that came in a second."""
    calm_p50_ms: float
    calm_p99_ms: float
    """Before the first switch."""
    p50_ms: float
    p99_ms: float
    longest_ms: float
    there_after_s: float
    """From pointing the channel to answers by the new version, the median; polls included."""
    rss_mb: list[float]
    """Of the inference process: before, after half of the switches, after all of them."""
    answers: int
    failed: int
    """Answers that were not 200 with the right detections."""


def change_model(
    track: Track, model: Path, cache: Path, precision: str, threshold: float, per_s: float
) -> Swaps:
    """Switch back and forth under a load of `per_s`; raises StackError or ProcessFailed."""
    with tempfile.TemporaryDirectory(prefix="elastic-yolo-") as folder:
        writer = Writer(Layout(Path(folder) / "store"))
        ids = publish_twice(writer, model, Path(folder) / "second", precision)
        with _serving(writer.layout.root, cache, precision, Path(folder)) as up:
            target = Target(f"{up.web.url}/inference?threshold={threshold}")
            started = time.monotonic()
            track.start(target, {"rate": per_s, "seconds": COURSE_S})
            time.sleep(_CALM_S)
            calm_s = time.monotonic() - started
            rss, waits = [_rss_mb(up.inference)], []
            for number in range(1, SWAPS + 1):
                waits.append(_switch(writer, up.inference, ids[number % 2]))
                time.sleep(_BETWEEN_S)
                rss.append(_rss_mb(up.inference))
                if time.monotonic() - started > COURSE_S - waits[-1] - _BETWEEN_S:
                    break
            samples, _, _ = track.finish()
    return summarise(samples, per_s, calm_s, waits, rss)


def summarise(
    samples: list[Sample], per_s: float, calm_s: float, waits: list[float], rss: list[float]
) -> Swaps:
    """Return what was seen; the first switch was `calm_s` seconds after the start."""
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
    """Publish a model twice, the second time with a remark in its .cfg; return the ids."""
    shutil.copytree(model, second)
    # It states the digest of the .cfg as it was.
    (second / "model.yaml").unlink(missing_ok=True)
    cfg = read_model(second).cfg
    cfg.write_text("# the same once more\n" + cfg.read_text(encoding="utf-8"), encoding="utf-8")
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
    """Point the channel elsewhere and return how long it took until that was served."""
    started = time.monotonic()
    writer.switch_channel(_NAME, "stable", identity)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() - started < _PATIENCE_S:
        with direct.open(f"{service.url}/v2/models/{_NAME}", timeout=10) as answer:
            if identity.startswith(json.load(answer)["versions"][0] + "-"):
                break
        time.sleep(_POLL_S / 10)
    return time.monotonic() - started


def _rss_mb(service: Service) -> float:
    return proc.memory(service.process.pid).rss_mb
