"""A model of the zoo whose weights come from a server of a test."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.provision.zoo import ZooModel, find_zoo_model
from elastic_yolo.provision.zoo.cache import pull_model

ENTRY = "yolo-fastest-1.1"
SIZE = find_zoo_model(ENTRY).weights.size


def weights(seed: int = 1) -> bytes:
    """Return a .weights file that fits the .cfg, with random values."""
    header = struct.pack("<iiiq", 0, 2, 0, 0)
    return header + random.Random(seed).randbytes(SIZE - len(header))  # noqa: S311


def entry(*sources: str, content: bytes | None = None, **stated: Any) -> ZooModel:
    """Return the table's smallest model with other sources; `content` gives it a digest."""
    model = find_zoo_model(ENTRY)
    digest = None if content is None else digest_of_bytes(content).removeprefix("sha256:")
    changed = {"sha256": digest, "sources": sources, "hashes": {}, **stated}
    return model.model_copy(update={"weights": model.weights.model_copy(update=changed)})


@dataclass
class Pulling:
    """Pulls models, and records what is reported."""

    lines: list[str] = field(default_factory=list)
    progress: list[tuple[str, int, int]] = field(default_factory=list)

    def pull(self, model: ZooModel) -> Path:
        return pull_model(model, lambda *state: self.progress.append(state), self.lines.append)
