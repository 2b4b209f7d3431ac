"""Compare `elastic-yolo batch` with the bare loops of the same engine: `make bench-batch`.

Three workers take turns on the same pictures, and each round gives their rates:

- `batch`: the whole job, from files to written results (elastic_yolo/batch).
- `detect loop`: decode, letterbox, engine, heads, NMS, in as many threads as there are streams and
  one more, which decodes meanwhile (as the bare loop of bench/pipeline).
- `engine alone`: every stream of the engine works without a pause on arrays that are prepared; no
  picture is decoded, no box computed. No program that decodes on the same CPUs reaches it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from bench.models import FOLDER, THREADS
from bench.peers.work import SharedDetector
from elastic_yolo.batch.detecting import LocalDetecting
from elastic_yolo.batch.formats import CocoIds, encoder
from elastic_yolo.batch.job import Checkpoint, Share, describe_job
from elastic_yolo.batch.output import open_output
from elastic_yolo.batch.pictures import open_pictures
from elastic_yolo.batch.run import Batch, Limits
from elastic_yolo.detector.conversion import make_int8
from elastic_yolo.detector.decode import decode_upright
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.loading import load_detector
from elastic_yolo.detector.machine import describe_cpu
from elastic_yolo.detector.model import read_model
from elastic_yolo.detector.parallel import ParallelDetector, Parameters
from elastic_yolo.detector.samples import SampleFolder, list_pictures
from elastic_yolo.lab.processes.process_tree import memory
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT
from elastic_yolo.progress import ProgressLine, print_skipped, print_status

_SIZE = (640, 480)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the rates and their ratios; write them as JSON."""
    parser = argparse.ArgumentParser(prog="make bench-batch", description=__doc__)
    parser.add_argument("--model", type=Path, default=DEMO_MODEL, help="(%(default)s)")
    parser.add_argument("--pictures", type=int, default=2000, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    parser.add_argument("--precision", default="int8", help="(%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("bench-batch.json"))
    parsed = parser.parse_args(arguments)
    model = read_model(parsed.model)
    if parsed.precision == "int8":
        samples = SampleFolder(ROOT / "client" / "photos", model, print_skipped)
        make_int8(model, samples, FOLDER, ProgressLine())
    options = EngineOptions(THREADS, "openvino", parsed.precision, "cpu", FOLDER)
    detector, _ = load_detector(parsed.model, options)
    with TemporaryDirectory() as room:
        folder = write_pictures(Path(room) / "pictures", parsed.pictures)
        with ParallelDetector(detector) as parallel:
            loops = Loops(detector, parallel, folder)
            rates = _rounds(loops, parsed.rounds)
    report(rates, parsed)
    return 0


def write_pictures(folder: Path, number: int) -> Path:
    """Write different JPEGs of 640x480, parts of the client's photographs; return the folder."""
    folder.mkdir()
    photos = [decode_upright(path.read_bytes()) for path in list_pictures(ROOT / "client/photos")]
    random = np.random.default_rng(1)
    for n in range(number):
        photo = photos[n % len(photos)]
        height, width, _ = photo.shape
        scale = random.uniform(0.6, 1.0)
        part_width, part_height = int(width * scale), int(height * scale)
        left = int(random.integers(0, width - part_width + 1))
        top = int(random.integers(0, height - part_height + 1))
        part = photo[top : top + part_height, left : left + part_width, ::-1]
        cv2.imwrite(str(folder / f"{n:05}.jpg"), cv2.resize(part, _SIZE))
    return folder


class Loops:
    """The three workers, on the same detector and pictures."""

    def __init__(self, detector: Detector, parallel: ParallelDetector, folder: Path) -> None:
        """Prepare what the loops share."""
        self._detector = detector
        self._parallel = parallel
        self._folder = folder
        self.files = list_pictures(folder)
        self._images = [detector.prepare(path)[0][np.newaxis] for path in self.files[:64]]
        self._shared = SharedDetector(detector, list(parallel.engines))

    def batch(self) -> None:
        """Run a whole job."""
        pictures = open_pictures(str(self._folder))
        parameters = Parameters()
        job = describe_job(self._detector.model, parameters, ["jsonl"], pictures, Share())
        with TemporaryDirectory() as room, (output := open_output(room)).locked():
            batch = Batch(
                str(self._folder), pictures, output,
                {"jsonl": encoder("jsonl", CocoIds())}, Checkpoint(job=job), Limits(),
            )  # fmt: skip
            detecting = LocalDetecting(self._parallel, pictures)
            manifest = batch.run(detecting, lambda *_: None, threading.Event())
        assert manifest.results == len(self.files), manifest

    def detect_loop(self) -> None:
        """Detect in every picture, without writing anything."""
        threshold = self._detector.model.threshold
        _in_threads(
            len(self._parallel.engines) + 1,
            lambda number: self._shared.detect(self.files[number].read_bytes(), threshold),
            len(self.files),
        )

    def engine_alone(self) -> None:
        """Run the network as often as there are pictures."""
        numbers = count()
        total = len(self.files)

        def work(engine: int) -> None:
            while (number := next(numbers)) < total:
                self._parallel.engines[engine].execute(self._images[number % len(self._images)])

        _run_threads([partial(work, n) for n in range(len(self._parallel.engines))])


def _in_threads(threads: int, work: Callable[[int], object], total: int) -> None:
    numbers = count()

    def run() -> None:
        while (number := next(numbers)) < total:
            work(number)

    _run_threads([run] * threads)


def _run_threads(targets: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _rounds(loops: Loops, rounds: int) -> dict[str, list[float]]:
    work = {
        "batch": loops.batch,
        "detect loop": loops.detect_loop,
        "engine alone": loops.engine_alone,
    }
    rates: dict[str, list[float]] = {name: [] for name in work}
    total = len(loops.files)
    for number in range(rounds + 1):
        for name, run in work.items():
            started = time.perf_counter()
            run()
            if number:
                # The first round warms caches.
                rates[name].append(total / (time.perf_counter() - started))
        print_status(f"round {number} of {rounds}: {memory(os.getpid()).rss_mb:.0f} MB")
    return rates


def report(rates: dict[str, list[float]], parsed: argparse.Namespace) -> None:
    """Print medians and paired ratios, and write all values."""
    work = f"{parsed.pictures:,} JPEGs of 640x480"
    print(f"{parsed.model.name}, {parsed.precision}, {work}; {describe_cpu()}")
    print(f"{'':14}{'pictures/s':>11}  batch is, median of paired ratios (lowest to highest)")
    for name, values in rates.items():
        ratios = [own / other for own, other in zip(rates["batch"], values, strict=True)]
        compared = f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        print(f"{name:14}{median(values):11.1f}  {'' if name == 'batch' else compared}")
    parsed.output.write_text(json.dumps(rates, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
