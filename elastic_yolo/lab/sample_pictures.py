"""The repository's sample pictures: drawn scenes for the embedded model, photographs for COCO."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from elastic_yolo.lab.processes.stack import ROOT

PHOTOS, SCENES = ROOT / "client" / "photos", ROOT / "client" / "images"
# A model that knows fewer of the labels has been trained for something else.
_MIN_SHARE = 0.5
_MAX_NAMES_BYTES = 1_000_000


def find_samples(labels: Collection[str]) -> Path | None:
    """Return the folder of pictures whose objects a model with these labels knows best.

    None if it knows less than half of the labels in the ground truth of each folder.
    """
    share, folder = max((_known(folder, labels), folder) for folder in (PHOTOS, SCENES))
    return folder if share >= _MIN_SHARE else None


def find_calibration(labels: Collection[str]) -> Path | None:
    """Return the folder of pictures to calibrate and judge int8 with, or None.

    It is the folder `calibration` of the sample pictures where there is one: pictures that
    calibrate cannot show how accurate the result is on others.
    """
    samples = find_samples(labels)
    if samples is None:
        return None
    apart = samples / "calibration"
    return apart if apart.is_dir() else samples


def first_picture(folder: Path) -> Path:
    """Return the first picture of a folder that the ground truth names."""
    return folder / min(_read_truth(folder))


def read_labels(model: Path) -> list[str]:
    """Return the lines of a model folder's .names file; none if it is unusable.

    The service reads and checks the model; this only selects sample pictures.
    """
    try:
        (names,) = (one for one in model.glob("[!.]*") if one.suffix.lower() == ".names")
        with names.open(encoding="utf-8", errors="replace") as file:
            return file.read(_MAX_NAMES_BYTES).split("\n")
    except (OSError, ValueError):
        return []


def _known(folder: Path, labels: Collection[str]) -> float:
    shown = {label for picture in _read_truth(folder).values() for label, _ in picture["objects"]}
    return len(shown & {label.strip() for label in labels}) / len(shown)


def _read_truth(folder: Path) -> dict[str, dict[str, list[tuple[str, list[float]]]]]:
    truth: dict[str, dict[str, list[tuple[str, list[float]]]]] = json.loads(
        (folder / "truth.json").read_text(encoding="utf-8")
    )
    return truth
