"""Small real models, and models.yaml files for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from elastic_yolo.digest import digest_of_file
from elastic_yolo.provision.progress import ProgressReporter
from tests.support.tiny import write_tiny_model

QUIET = ProgressReporter(lambda *_: None, lambda *_: None, lambda _: None)
"""A ProgressReporter that ignores everything."""
FILES = ("tiny.cfg", "tiny.names", "tiny.weights")


def write_source(folder: Path, cells: int = 1) -> Path:
    """Write a model whose content depends on `cells`, and return its folder."""
    return write_tiny_model(folder, width=32 * cells)


def wanted(folder: Path | str, *, digests: Path | None = None, **stated: Any) -> dict[str, Any]:
    """Return an entry of models.yaml; `digests` is a folder with the expected content."""
    files: dict[str, Any] = {name: {} for name in FILES}
    if digests is not None:
        for name in FILES:
            digest = digest_of_file(digests / name)
            files[name] = {"sha256": digest.removeprefix("sha256:")}
    return {"name": "tiny", "source": str(folder), "files": files, **stated}


def write_config(path: Path, *models: dict[str, Any]) -> Path:
    """Write a models.yaml and return its path."""
    path.write_text(yaml.safe_dump({"models": list(models)}))
    return path
