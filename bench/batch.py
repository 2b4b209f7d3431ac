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
from dataclasses import asdict, dataclass
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
    """Print rates, CPU times and ratios; write them as JSON."""
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
            turns = _rounds(loops, parsed.rounds)
    report(turns, parsed)
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


@dataclass(frozen=True)
class Turn:
    """One worker's turn on all pictures."""

    pictures_per_s: float
    cpu_ms: float
    """CPU time of the whole process for each picture. Other work on the machine changes it less."""


def _rounds(loops: Loops, rounds: int) -> dict[str, list[Turn]]:
    work = {
        "batch": loops.batch,
        "detect loop": loops.detect_loop,
        "engine alone": loops.engine_alone,
    }
    turns: dict[str, list[Turn]] = {name: [] for name in work}
    total = len(loops.files)
    for number in range(rounds + 1):
        for name, run in work.items():
            cpu, started = time.process_time(), time.perf_counter()
            run()
            seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
            if number:
                # The first round warms caches.
                turns[name].append(Turn(total / seconds, 1000 * cpu_s / total))
        print_status(f"round {number} of {rounds}: {memory(os.getpid()).rss_mb:.0f} MB")
    return turns


def report(turns: dict[str, list[Turn]], parsed: argparse.Namespace) -> None:
    """Print medians and paired ratios, and write all values."""
    print(f"{parsed.model.name} {parsed.precision}, {parsed.pictures:,} JPEGs; {describe_cpu()}")
    print(f"{'':14}{'pictures/s':>11}{'CPU ms':>8}  rate of batch to this one, paired (range)")
    for name, values in turns.items():
        ratios = [
            own.pictures_per_s / other.pictures_per_s
            for own, other in zip(turns["batch"], values, strict=True)
        ]
        rate = median(turn.pictures_per_s for turn in values)
        cpu_ms = median(turn.cpu_ms for turn in values)
        compared = f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        print(f"{name:14}{rate:11.1f}{cpu_ms:8.1f}  {'' if name == 'batch' else compared}")
    written = {name: [asdict(turn) for turn in values] for name, values in turns.items()}
    parsed.output.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
