"""The models of the benchmarks, and their shared constants."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from bench.oracle.networks import DEBIAN, write_cfg
from bench.oracle.random_weights import SEED, write_random_weights
from elastic_yolo.detector.conversion import make_int8
from elastic_yolo.detector.model import Model
from elastic_yolo.detector.samples import SampleFolder
from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.progress import ProgressLine, print_skipped

PICTURES = ROOT / "client" / "images"
FOLDER = ROOT / ".cache" / "bench"
THREADS = len(os.sched_getaffinity(0))


def has_darknet() -> bool:
    """Return whether Debian's package darknet, and with it yolov3.cfg, is installed."""
    return (DEBIAN / "yolov3.cfg").is_file()


def random_model(name: str, size: int, folder: Path) -> Path:
    """Return a model folder with one of Debian's .cfg files at size x size, and random weights.

    Real weights are not part of this repository; the values do not change the time of a network.
    """
    target = folder / f"{name}-{size}"
    weights = target / f"{name}.weights"
    if not weights.is_file():
        target.mkdir(parents=True, exist_ok=True)
        cfg = write_cfg(name, target, (size, size))
        shutil.copy(DEBIAN.parent / "data" / "coco.names", target)
        unfinished = weights.with_suffix(".new")
        write_random_weights(cfg, unfinished, SEED)
        unfinished.replace(weights)
    return target


def quantise(model: Model) -> None:
    """Make the int8 version of a model, calibrated with the client's pictures."""
    samples = SampleFolder(PICTURES, model, print_skipped)
    make_int8(model, samples, FOLDER, ProgressLine())


def labelled_pictures(labels: tuple[str, ...], folder: Path) -> Path:
    """Return a folder with the client's pictures and Darknet's label files for them."""
    target = folder / "pictures"
    target.mkdir(parents=True, exist_ok=True)
    truth = json.loads((PICTURES / "truth.json").read_text(encoding="utf-8"))
    for name, picture in truth.items():
        shutil.copy(PICTURES / name, target)
        width, height = picture["width"], picture["height"]
        lines = (
            f"{labels.index(label)} {x / width} {y / height} {w / width} {h / height}\n"
            for label, (x, y, w, h) in picture["objects"]
        )
        (target / name).with_suffix(".txt").write_text("".join(lines), encoding="ascii")
    return target
