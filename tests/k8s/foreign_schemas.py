"""Validates the resources of KServe and cert-manager against schemas of several releases."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

from tests.support.rendered import Manifest

_FOLDER = Path(__file__).with_name("schemas")
RELEASES = {
    "ClusterServingRuntime": "kserve",
    "InferenceService": "kserve",
    "Certificate": "cert-manager",
    "Issuer": "cert-manager",
}
VERSIONS = {"kserve": ("v0.15.2", "v0.20.0"), "cert-manager": ("v1.15.3", "v1.21.1")}


def faults(manifest: Manifest) -> list[str]:
    """Return what is wrong with a manifest, for each release."""
    project = RELEASES[manifest["kind"]]
    return [
        f"{project} {version}: {'.'.join(map(str, error.instance_path))}: {error.message}"
        for version in VERSIONS[project]
        for error in _validator(project, version, manifest["kind"].lower()).iter_errors(manifest)
    ]


@cache
def _validator(project: str, version: str, kind: str) -> Any:
    schema = json.loads((_FOLDER / f"{project}-{version}-{kind}.json").read_text())
    return jsonschema_rs.validator_for(_close(schema))


def _close(schema: Any) -> Any:
    """Return a schema that refuses unknown properties, which a cluster would drop silently."""
    if not isinstance(schema, dict):
        return schema
    closed = dict(schema)
    if "properties" in closed:
        closed["properties"] = {name: _close(one) for name, one in closed["properties"].items()}
        if not closed.get("x-kubernetes-preserve-unknown-fields"):
            closed["additionalProperties"] = False
    if "items" in closed:
        closed["items"] = _close(closed["items"])
    return closed
