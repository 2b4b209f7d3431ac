"""Measure mAP@0.5 on held-out scenes: `python -m training.evaluate --help`."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from training.classes import NAMES
from training.dataset import FAMILIES, HELD_OUT_SEED, held_out_assets, held_out_scene
from training.detect import Found, detect, overlaps
from training.export import read_weights
from training.network import Network, build
from training.scenes import Assets, Thing

IOU = 0.5  # overlap at which an answer counts as right
LOWEST_SCORE = 0.005


@dataclass(frozen=True)
class Mark:
    """One answer judged: its score, and whether it is the first right one for an object."""

    score: float
    right: bool


@dataclass(frozen=True)
class ClassResult:
    """The outcome for one class."""

    name: str
    objects: int
    precision: float  # average precision, the area under the precision-recall curve
    recall: float  # share of objects found with a score of at least 0.5


def main() -> None:
    """Draw held-out scenes, run the exported weights on them and print a table per class."""
    arguments = _arguments()
    cv2.setNumThreads(0)
    torch.set_num_threads(arguments.threads)
    network = build(arguments.cfg).eval()
    read_weights(network, arguments.weights)
    assets = held_out_assets(arguments.packages, arguments.lomiri, arguments.family)
    results = measure(network, assets, arguments.seed, arguments.scenes)
    print(table(results))
    if arguments.json is not None:
        rows = [vars(result) for result in results]
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="training.evaluate", description=__doc__)
    parser.add_argument("--packages", type=Path, required=True, help="npm's node_modules folder")
    parser.add_argument("--lomiri", type=Path, default=Path("/usr/share/backgrounds"))
    parser.add_argument("--cfg", type=Path, default=Path("models/demo/yolov3-tiny-emoji.cfg"))
    parser.add_argument(
        "--weights", type=Path, default=Path("models/demo/yolov3-tiny-emoji.weights")
    )
    parser.add_argument("--family", choices=tuple(FAMILIES), default="seen")
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the table here")
    return parser.parse_args()


def measure(network: Network, assets: Assets, seed: int, scenes: int) -> list[ClassResult]:
    """Answer `scenes` scenes and judge the answers class by class."""
    marks: list[list[Mark]] = [[] for _ in NAMES]
    objects = np.zeros(len(NAMES), np.int64)
    found_well = np.zeros(len(NAMES), np.int64)
    for index in range(scenes):
        scene = held_out_scene(assets, seed, index)
        found = detect(network, scene.picture, LOWEST_SCORE, 0.45)
        for label in range(len(NAMES)):
            things = [thing for thing in scene.things if thing.label == label]
            judged = judge([answer for answer in found if answer.label == label], things)
            marks[label] += judged
            objects[label] += len(things)
            found_well[label] += sum(mark.right and mark.score >= 0.5 for mark in judged)
        if (index + 1) % 100 == 0:
            print(f"{index + 1}/{scenes} scenes", flush=True)
    return [
        ClassResult(name, int(count), average_precision(mine, int(count)), float(well / count))
        for name, mine, count, well in zip(NAMES, marks, objects, found_well, strict=True)
    ]


def judge(found: list[Found], things: list[Thing]) -> list[Mark]:
    """Match answers of one class, best score first, each with the object it overlaps most."""
    boxes = np.array([thing.box for thing in things], np.float64).reshape(-1, 4)
    free = np.ones(len(things), bool)
    marks: list[Mark] = []
    for answer in found:
        right = False
        if len(things):
            overlap = overlaps(np.array(answer.box), boxes)
            best = int(overlap.argmax())
            right = bool(overlap[best] >= IOU and free[best])
            free[best] &= not right
        marks.append(Mark(answer.score, right))
    return marks


def average_precision(marks: list[Mark], objects: int) -> float:
    """Return the area under the curve of precision made falling, over every recall."""
    if not marks or objects == 0:
        return 0.0
    ordered = sorted(marks, key=lambda mark: -mark.score)
    right: NDArray[np.float64] = np.cumsum([mark.right for mark in ordered]).astype(np.float64)
    precision = right / np.arange(1, len(ordered) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(np.concatenate([[0.0], right / objects]))
    return float((steps * falling).sum())


def table(results: list[ClassResult]) -> str:
    """Write the results as a Markdown table with the mean below."""
    rows = [f"| {r.name} | {r.objects} | {r.precision:.3f} | {r.recall:.3f} |" for r in results]
    precision = np.mean([result.precision for result in results])
    recall = np.mean([result.recall for result in results])
    objects = sum(result.objects for result in results)
    head = ["| class | objects | AP@0.5 | found at score 0.5 |", "|---|---:|---:|---:|"]
    mean = f"| **mean** | {objects} | **{precision:.3f}** | **{recall:.3f}** |"
    return "\n".join([*head, *rows, mean])


if __name__ == "__main__":
    main()
