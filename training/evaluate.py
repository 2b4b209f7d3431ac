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

from elastic_yolo.detector.accuracy import LOWEST_SCORE, judge
from training.classes import NAMES
from training.dataset import FAMILIES, HELD_OUT_SEED, held_out_assets, held_out_scene
from training.detect import detect
from training.export import read_weights
from training.network import Network, build
from training.scenes import Assets


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
    found, truth = [], []
    for index in range(scenes):
        scene = held_out_scene(assets, seed, index)
        answers = detect(network, scene.picture, LOWEST_SCORE, 0.45)
        found.append(_rows([(*a.box, a.score, a.label) for a in answers], 6))
        truth.append(_rows([(*thing.box, thing.label) for thing in scene.things], 5))
        if (index + 1) % 100 == 0:
            print(f"{index + 1}/{scenes} scenes", flush=True)
    results = []
    for label, name in enumerate(NAMES):
        judged = judge(found, truth, label)
        well = float((judged.right & (judged.scores >= 0.5)).sum() / judged.objects)
        results.append(ClassResult(name, judged.objects, judged.average_precision(), well))
    return results


def _rows(rows: list[tuple[float, ...]], columns: int) -> NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(-1, columns)


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
