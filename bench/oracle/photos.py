"""Write what Darknet detects on client/photos to client/photos/truth.json.

python -m bench.oracle.photos MODEL_FOLDER

MODEL_FOLDER has the authors' yolov3-tiny. Darknet's C code decodes, letterboxes and detects.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from elastic_yolo.detector.engines.libdarknet import LibDarknet
from elastic_yolo.detector.model import Model, read_model
from elastic_yolo.picture.header import read_header

PHOTOS = Path(__file__).parents[2] / "client" / "photos"
TRUTH = PHOTOS / "truth.json"


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.oracle.photos",
        description="Write Darknet's detections on client/photos to client/photos/truth.json.",
    )
    parser.add_argument("model", type=Path, help="folder with the authors' yolov3-tiny")
    model = read_model(parser.parse_args().model)
    lines = [
        f" {json.dumps(name)}: {json.dumps(picture)}" for name, picture in truth_of(model).items()
    ]
    TRUTH.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def truth_of(model: Model) -> dict[str, dict[str, Any]]:
    """Return the content of truth.json: size and Darknet's objects of every photo."""
    with LibDarknet(model.cfg, model.weights_file) as darknet:
        return {path.name: _describe(darknet, model, path) for path in sorted(PHOTOS.glob("*.jpg"))}


def _describe(darknet: LibDarknet, model: Model, photo: Path) -> dict[str, Any]:
    width, height = read_header(photo.read_bytes()).upright_size
    found = darknet.detect(photo, model.threshold, model.iou)
    objects = [[model.labels[number], [round(v, 2) for v in box]] for number, _score, box in found]
    return {"width": width, "height": height, "objects": objects}


if __name__ == "__main__":
    main()
