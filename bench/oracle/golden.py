"""Print the golden picture of a model of the zoo: what Darknet detects on a photo, as YAML.

python -m bench.oracle.golden MODEL_FOLDER PHOTO

The photo should have objects with high scores and none near the threshold, so that every correct
engine and precision finds the same ones.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from elastic_yolo.detector.engines.libdarknet import LibDarknet
from elastic_yolo.detector.model import Model, read_model

Expected = list[tuple[str, float, tuple[float, ...]]]


def main() -> None:
    """Print the field `expected`."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.oracle.golden",
        description="Print what Darknet detects on a photo, for a file of elastic_yolo/provision/"
        "zoo/entries.",
    )
    parser.add_argument("model", type=Path, help="folder with the model")
    parser.add_argument("photo", type=Path, help="picture file")
    parsed = parser.parse_args()
    for label, score, box in expected(read_model(parsed.model), parsed.photo):
        print(f"    - [{label}, {score}, [{', '.join(map(str, box))}]]")


def expected(model: Model, photo: Path) -> Expected:
    """Return label, score and box of Darknet's detections, best first."""
    with LibDarknet(model.cfg, model.weights_file) as darknet:
        found = darknet.detect(photo, model.threshold, model.iou)
    return [
        (model.labels[number], round(score, 3), tuple(round(value, 1) for value in box))
        for number, score, box in found
    ]


if __name__ == "__main__":
    main()
