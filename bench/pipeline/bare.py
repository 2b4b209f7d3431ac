"""The process of the bare loop: the whole work on a picture, without HTTP.

Decode, letterbox, engine, heads, suppression: `Detector.detect` on the same bytes. Alone, all the
engine's threads work on one picture. Under load several threads share streams of the engine;
the fastest number of both is determined first.

The process writes JSON lines: first its detections and the selected number of threads and streams,
then the times of a turn for every line `{"alone": true, "seconds": ...}` on its standard input.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from bench.peers.work import SharedDetector
from elastic_yolo.detector.boxes import Detection
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.errors import DetectorError
from elastic_yolo.detector.loading import load_detector

_TRIAL_S = 1.0
# The number of detections that the threshold leaves, about as many as in a photograph.
_MOST_FOUND = 16
_FEWEST_FOUND = 8


@dataclass(frozen=True)
class Concurrency:
    """A concurrent setting: threads, and the engine's streams that they share."""

    threads: int
    streams: int


class Completed(NamedTuple):
    """The result of a loop."""

    times_ms: list[float]
    seconds: float
    cpu_s: float


def main() -> None:
    """Run until standard input ends."""
    task = json.loads(sys.argv[1])
    data = Path(task["picture"]).read_bytes()
    cores = task["threads"]
    options = EngineOptions(cores, "openvino", task["precision"], "cpu", Path(task["cache"]))
    try:
        detector, _ = load_detector(Path(task["model"]), options)
    except DetectorError as error:
        raise SystemExit(str(error)) from None
    threshold = choose_threshold(detector.detect(data), detector.model.threshold)
    found = [[d.label, d.score, list(d.box)] for d in detector.detect(data, threshold)]
    loops = _Loops(detector, data, threshold, cores)
    concurrency, tried = loops.fastest()
    _write(
        {
            "threshold": threshold,
            "found": found,
            "way": asdict(concurrency),
            "tried": [{**asdict(one), "images_per_s": rate} for one, rate in tried.items()],
        }
    )
    for line in sys.stdin:
        turn = json.loads(line)
        _write(loops.run(None if turn["alone"] else concurrency, turn["seconds"])._asdict())


def choose_threshold(found: Sequence[Detection], default: float) -> float:
    """Return a threshold that leaves about as many detections as a photograph has objects.

    Random weights detect thousands, and suppression would then take nearly all the time. The
    threshold lies in the widest gap between two scores, so that rounding changes no detection.
    """
    if len(found) <= _MOST_FOUND:
        return default
    scores = sorted((detection.score for detection in found), reverse=True)
    last = max(range(_FEWEST_FOUND, _MOST_FOUND + 1), key=lambda n: scores[n - 1] - scores[n])
    return round((scores[last - 1] + scores[last]) / 2, 6)


class _Loops:
    def __init__(self, detector: Detector, data: bytes, threshold: float, cores: int) -> None:
        self._alone = detector
        self._data = data
        self._threshold = threshold
        self._cores = cores
        self._streams: dict[int, SharedDetector] = {}

    def fastest(self) -> tuple[Concurrency, dict[Concurrency, float]]:
        """Try every sensible setting; return the fastest, and the pictures per second of each."""
        concurrencies = [
            Concurrency(threads, streams)
            for streams in range(1, self._cores + 1)
            # One more thread than streams decodes while all streams run.
            for threads in (streams, streams + 1)
        ]
        tried = {}
        for concurrency in concurrencies:
            self.run(concurrency, _TRIAL_S / 4)
            completed = self.run(concurrency, _TRIAL_S)
            tried[concurrency] = len(completed.times_ms) / completed.seconds
        best = max(tried, key=lambda concurrency: tried[concurrency])
        # The networks of the other settings would only use memory.
        self._streams = {streams: self._streams[streams] for streams in [best.streams]}
        return best, tried

    def run(self, concurrency: Concurrency | None, seconds: float) -> Completed:
        """Work for `seconds`: on one picture after the other if `concurrency` is None."""
        times: list[float] = []
        cpu, started = time.process_time(), time.perf_counter()
        until = started + seconds
        if concurrency is None:
            self._work(self._alone.detect, until, times)
        else:
            shared = self._shared(concurrency.streams)
            threads = [
                threading.Thread(target=self._work, args=(shared.detect, until, times))
                for _ in range(concurrency.threads)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return Completed(times, time.perf_counter() - started, time.process_time() - cpu)

    def _work(
        self, detect: Callable[[bytes, float], object], until: float, times: list[float]
    ) -> None:
        while (started := time.perf_counter()) < until:
            detect(self._data, self._threshold)
            times.append((time.perf_counter() - started) * 1000)

    def _shared(self, streams: int) -> SharedDetector:
        if streams not in self._streams:
            engine = self._alone.engine
            engines = engine.split(streams) if streams > 1 else [engine]
            self._streams[streams] = SharedDetector(self._alone, engines)
        return self._streams[streams]


def _write(value: object) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
