"""`elastic-yolo detect`: detect objects in picture files, without a service."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from elastic_yolo.cli.errors import describe_failure
from elastic_yolo.cli.options import (
    MODEL_HELP,
    add_engine_options,
    add_exact_option,
    add_resize_option,
    add_threshold_options,
    engine_options,
    model_folder,
    model_name,
    output_folder,
)
from elastic_yolo.cli.pictures import expand_folders, overwritten, target_of
from elastic_yolo.detector.boxes import Detection
from elastic_yolo.detector.decode import decode_upright
from elastic_yolo.detector.loading import load_detector
from elastic_yolo.picture.drawing import draw_boxes
from elastic_yolo.picture.drawn_types import JPEG
from elastic_yolo.picture.errors import PictureError
from elastic_yolo.printable import escape_unprintable
from elastic_yolo.progress import print_status


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("detect", description="Detect objects in picture files.")
    parser.add_argument(
        "pictures", nargs="+", type=Path, metavar="PICTURE",
        help="JPEG, PNG, WebP or BMP file, or folder of them",
    )  # fmt: skip
    parser.add_argument("--model", type=model_name, required=True, metavar="MODEL", help=MODEL_HELP)
    add_threshold_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object per picture")
    parser.add_argument(
        "--save", type=output_folder, metavar="DIR", help="write pictures with boxes to this folder"
    )
    add_exact_option(parser)
    add_resize_option(parser)
    add_engine_options(parser)
    parser.set_defaults(run=run, refuse=parser.error)


def run(parsed: argparse.Namespace) -> int:
    """Detect in every picture; one that fails is reported, and the exit status is 1."""
    pictures = expand_folders(parsed.pictures)
    if parsed.save:
        for reason in overwritten(pictures, parsed.save):
            parsed.refuse(reason)
    detector, _ = load_detector(
        model_folder(parsed.model), engine_options(parsed), resize=parsed.resize
    )
    status = 0
    for path in pictures:
        try:
            data = path.read_bytes()
            found = detector.detect(data, parsed.threshold, parsed.iou, exact=parsed.exact)
            if parsed.save:
                _save(target_of(parsed.save, path), data, found)
        except (OSError, PictureError) as error:
            print_status(f"elastic-yolo: {describe_failure(path, error)}")
            status = 1
            continue
        _report(path, found, as_json=parsed.json)
        # A reader gets each result immediately.
        sys.stdout.flush()
    return status


def _report(path: Path, found: list[Detection], *, as_json: bool) -> None:
    if as_json:
        data = [[item.label, item.score, list(item.box)] for item in found]
        print(json.dumps({"picture": str(path), "data": data}))
        return
    print(f"{escape_unprintable(str(path))}: {len(found)} found")
    for item in found:
        x, y, width, height = item.box
        label = escape_unprintable(item.label)
        print(f"  {label:<16} {item.score:.3f}  {x:9.2f} {y:9.2f} {width:9.2f} {height:9.2f}")


def _save(target: Path, data: bytes, found: list[Detection]) -> None:
    boxes = [(item.label, item.score, item.box) for item in found]
    drawn = draw_boxes(decode_upright(data), boxes, JPEG)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(drawn)
