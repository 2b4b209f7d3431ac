"""Measure mAP@0.5 of the .weights beside a .cfg on held-out scenes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from elastic_yolo.detector.accuracy import LOWEST_SCORE, judge
from training.classes import DEMO_CFG, NAMES
from training.dataset import FAMILIES, HELD_OUT_SEED, held_out_assets, held_out_scene
from training.detect import Found, detect
from training.export import read_weights
from training.network import Network, build
from training.scenes import Assets, Thing

SCENES = {"seen": 1000, "unseen": 500}


@dataclass(frozen=True)
class ClassResult:
    """The outcome for one class."""

    name: str
    objects: int
    precision: float  # average precision, the area under the precision-recall curve
    recall: float  # share of objects found with a score of at least 0.5


def main() -> None:
    """Print a table with one row per class."""
    arguments = _arguments()
    cv2.setNumThreads(0)
    network = build(arguments.cfg).eval()
    read_weights(network, arguments.cfg.with_suffix(".weights"))
    assets = held_out_assets(arguments.packages, arguments.family)
    print(table(measure(network, assets, SCENES[arguments.family])))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="training.evaluate", description=__doc__)
    parser.add_argument("--packages", type=Path, required=True, help="npm's node_modules folder")
    parser.add_argument("--cfg", type=Path, default=DEMO_CFG, help="the network (%(default)s)")
    parser.add_argument(
        "--family", choices=tuple(FAMILIES), default="seen", help="drawings to use (%(default)s)"
    )
    return parser.parse_args()


def measure(network: Network, assets: Assets, scenes: int) -> list[ClassResult]:
    """Detect in the first `scenes` held-out scenes and score each class."""
    found, truth = [], []
    for index in range(scenes):
        scene = held_out_scene(assets, HELD_OUT_SEED, index)
        found.append(_found_rows(detect(network, scene.picture, LOWEST_SCORE, 0.45)))
        truth.append(_truth_rows(scene.things))
        if (index + 1) % 100 == 0:
            print(f"{index + 1}/{scenes} scenes", flush=True)
    results = []
    for label, name in enumerate(NAMES):
        judged = judge(found, truth, label)
        well = float((judged.right & (judged.scores >= 0.5)).sum() / judged.objects)
        results.append(ClassResult(name, judged.objects, judged.average_precision(), well))
    return results


def count_right(found: Sequence[Found], things: Sequence[Thing]) -> int:
    """Count the objects of one picture that a detection matches in label and overlap."""
    rows, truth = _found_rows(found), _truth_rows(things)
    judged = (judge([rows], [truth], label) for label in range(len(NAMES)))
    return sum(int(one.right.sum()) for one in judged)


def _found_rows(found: Sequence[Found]) -> NDArray[np.float32]:
    """Return (k, 6): x1 y1 x2 y2 score class, best score first."""
    return np.array([(*one.box, one.score, one.label) for one in found], np.float32).reshape(-1, 6)


def _truth_rows(things: Sequence[Thing]) -> NDArray[np.float32]:
    """Return (m, 5): x1 y1 x2 y2 class."""
    return np.array([(*thing.box, thing.label) for thing in things], np.float32).reshape(-1, 5)


def table(results: list[ClassResult]) -> str:
    """Return the results as a Markdown table, the mean in the last row."""
    rows = [f"| {r.name} | {r.objects} | {r.precision:.3f} | {r.recall:.3f} |" for r in results]
    precision = np.mean([result.precision for result in results])
    recall = np.mean([result.recall for result in results])
    objects = sum(result.objects for result in results)
    head = ["| class | objects | AP@0.5 | found at score 0.5 |", "|---|---:|---:|---:|"]
    mean = f"| **mean** | {objects} | **{precision:.3f}** | **{recall:.3f}** |"
    return "\n".join([*head, *rows, mean])


if __name__ == "__main__":
    main()
