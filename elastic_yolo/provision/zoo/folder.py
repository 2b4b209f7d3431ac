"""The model folder of a model of the zoo: the files of this package, and a model.yaml."""

from __future__ import annotations

from typing import Any

import yaml

from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.names import Digest
from elastic_yolo.provision.zoo.table import ShippedFile, ZooFile, ZooModel, find_zoo_model

MANIFEST = "model.yaml"


def folder_content(model: ZooModel, weights: Digest | None) -> dict[str, bytes]:
    """Return the files that are not downloaded by name; `weights` is the digest if it is known."""
    content = {name: path.read_bytes() for name, path in model.shipped.items()}
    digests = {file.name: file.digest for file in model.downloaded}
    digests |= {name: digest_of_bytes(data) for name, data in content.items()}
    digests[model.weights.name] = weights
    known = {name: digest for name, digest in digests.items() if digest is not None}
    return {**content, MANIFEST: _manifest(model, known).encode()}


def models_yaml_entry(name: str) -> dict[str, Any]:
    """Return what `zoo: NAME` in models.yaml stands for; raises UnknownZooModel.

    Downloaded files have the sources of the table, all other files come from this package. The
    .cfg precedes the weights: a small file that cannot be fetched costs no large transfer.
    """
    model = find_zoo_model(name)
    files: dict[str, Any] = {
        model.cfg.name: _file(model.cfg),
        model.names.name: _file(model.names),
        MANIFEST: {},
        model.weights.name: _file(model.weights),
    }
    if model.golden is not None:
        files[model.golden.picture] = {}
    return {"name": name, "version": model.version, "source": f"zoo:{name}", "files": files}


def _file(file: ShippedFile | ZooFile) -> dict[str, Any]:
    stated: dict[str, Any] = {} if file.sha256 is None else {"sha256": file.sha256}
    return {**stated, "sources": file.sources} if isinstance(file, ZooFile) else stated


def _manifest(model: ZooModel, digests: dict[str, str]) -> str:
    content: dict[str, Any] = {"name": model.name, "version": model.version}
    if model.resize is not None:
        content["resize"] = model.resize
    content["files"] = digests
    if model.golden is not None:
        content["golden"] = model.golden.model_dump(mode="json")
    return yaml.safe_dump(content, sort_keys=False)
