"""The models that `make bench` measures."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from oracle.random_weights import write_random_weights

ROOT = Path(__file__).resolve().parent.parent
DEMO_MODEL = ROOT / "models" / "demo"
PICTURES = ROOT / "client" / "images"
DARKNET = Path("/usr/share/darknet")
_SEED = 20180914


def has_darknet() -> bool:
    """Return whether Debian's package darknet, and with it yolov3.cfg, is installed."""
    return (DARKNET / "cfg" / "yolov3.cfg").is_file()


def random_model(name: str, size: int, folder: Path) -> Path:
    """Return a model folder with one of Debian's .cfg files at size x size, and random weights.

    Real weights cannot be shipped; a network takes as long with others.
    """
    target = folder / f"{name}-{size}"
    weights = target / f"{name}.weights"
    if not weights.is_file():
        target.mkdir(parents=True, exist_ok=True)
        text = (DARKNET / "cfg" / f"{name}.cfg").read_text(encoding="utf-8")
        for side in ("width", "height"):
            text = re.sub(rf"(?m)^{side}=.*$", f"{side}={size}", text)
        (target / f"{name}.cfg").write_text(text, encoding="utf-8")
        shutil.copy(DARKNET / "data" / "coco.names", target)
        unfinished = weights.with_suffix(".new")
        write_random_weights(target / f"{name}.cfg", unfinished, _SEED)
        unfinished.replace(weights)
    return target


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
