"""A model for the zoo that is made up here; its .cfg and weights come from servers of a test."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.provision.zoo import ZooFile, ZooModel, find_zoo_model
from elastic_yolo.provision.zoo.cache import pull_model

ENTRY = "made-up"
CFG = b"""\
[net]
width=64
height=64
channels=3

[convolutional]
filters=512
size=3
stride=32
pad=1
activation=leaky

[convolutional]
filters=512
size=1
stride=1
activation=leaky

[convolutional]
filters=255
size=1
stride=1
activation=linear

[yolo]
mask=0,1,2
anchors=8,8, 16,16, 32,32
classes=80
num=3
"""
_HEADER = struct.pack("<iiiq", 0, 2, 0, 0)
# Weights and biases of the three convolutions.
SIZE = len(_HEADER) + 4 * (512 * 28 + 512 * 513 + 255 * 513)


def weights(seed: int = 1) -> bytes:
    """Return a .weights file that fits the .cfg, with random values."""
    return _HEADER + random.Random(seed).randbytes(SIZE - len(_HEADER))  # noqa: S311


def made_up(
    cfg_sources: Sequence[str], *sources: str, content: bytes | None = None, **stated: Any
) -> ZooModel:
    """Return the model with these sources of its weights; `content` gives these a digest.

    Everything else is that of an entry of the table.
    """
    cfg = ZooFile(name=f"{ENTRY}.cfg", size=len(CFG), sha256=_hex(CFG), sources=tuple(cfg_sources))
    digest = None if content is None else _hex(content)
    weights_file = ZooFile(
        name=f"{ENTRY}.weights", size=SIZE, sha256=digest, sources=sources, **stated
    )
    changed = {"name": ENTRY, "cfg": cfg, "weights": weights_file, "golden": None}
    return ZooModel(**{**dict(find_zoo_model("yolov3-tiny")), "resize": "stretch", **changed})


def _hex(content: bytes) -> str:
    return digest_of_bytes(content).removeprefix("sha256:")


@dataclass
class Pulling:
    """Pulls models, and records what is reported."""

    lines: list[str] = field(default_factory=list)
    progress: list[tuple[str, int, int]] = field(default_factory=list)

    def pull(self, model: ZooModel) -> Path:
        return pull_model(model, lambda *state: self.progress.append(state), self.lines.append)
