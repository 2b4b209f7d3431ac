"""The model folder of a model of the zoo: the files of this package, and a model.yaml."""

from __future__ import annotations

from typing import Any

import yaml

from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.names import Digest
from elastic_yolo.provision.zoo.table import ZooModel, find_zoo_model

MANIFEST = "model.yaml"


def folder_content(model: ZooModel, weights: Digest | None) -> dict[str, bytes]:
    """Return all files but the weights by name; `weights` is their digest if it is known."""
    content = {name: path.read_bytes() for name, path in model.shipped.items()}
    digests = {name: digest_of_bytes(data) for name, data in content.items()}
    if weights is not None:
        digests[model.weights.name] = weights
    return {**content, MANIFEST: _manifest(model, digests).encode()}


def models_yaml_entry(name: str) -> dict[str, Any]:
    """Return what `zoo: NAME` in models.yaml stands for; raises UnknownZooModel.

    The weights have the sources of the table, all other files come from this package.
    """
    model = find_zoo_model(name)
    weights: dict[str, Any] = {"sources": model.weights.sources}
    if model.weights.sha256 is not None:
        weights["sha256"] = model.weights.sha256
    files: dict[str, Any] = {
        model.cfg.name: {"sha256": model.cfg.sha256},
        model.names.name: {"sha256": model.names.sha256},
        MANIFEST: {},
        model.weights.name: weights,
    }
    if model.golden is not None:
        files[model.golden.picture] = {}
    return {"name": name, "version": model.version, "source": f"zoo:{name}", "files": files}


def _manifest(model: ZooModel, digests: dict[str, str]) -> str:
    content: dict[str, Any] = {"name": model.name, "version": model.version}
    if model.resize is not None:
        content["resize"] = model.resize
    content["files"] = digests
    if model.golden is not None:
        content["golden"] = model.golden.model_dump(mode="json")
    return yaml.safe_dump(content, sort_keys=False)
