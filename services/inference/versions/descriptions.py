"""What the protocol and Triton's extensions tell of server and models, as HTTP's JSON.

The messages of gRPC have members of the same names.
"""

from __future__ import annotations

from typing import Any

from elastic_yolo import __version__
from services.common.request.errors import UnknownModel
from services.inference.versions.loaded_version import LoadedVersion
from services.inference.versions.models import Models
from services.inference.versions.traffic_split import TrafficSplit

# Triton's names.
_EXTENSIONS = ("binary_tensor_data", "model_configuration", "statistics")


def require_version(split: TrafficSplit, version: str | None) -> LoadedVersion:
    """Return a version by its name, or without a name the main one; raises UnknownModel."""
    found = split.main if version is None else split.find_version(version)
    if found is None:
        available = ", ".join(repr(one.version) for one in split.versions)
        raise UnknownModel(
            f"no version {str(version)[:80]!r} of {split.main.name!r} here; available: {available}"
        )
    return found


def describe_server(models: Models, extensions: list[str]) -> dict[str, Any]:
    """Return the server metadata; `extensions` are supported beside those that always are."""
    return {
        "name": "elastic-yolo",
        "version": __version__,
        "extensions": [*_EXTENSIONS, *extensions],
        # Beyond the protocol: the names of all models, the default first.
        "models": models.names,
    }


def describe_model(models: Models, name: str, version: str | None) -> dict[str, Any]:
    """Return the metadata of a version, the main one by default; raises UnknownModel."""
    split = models.current_split(name)
    metadata = require_version(split, version).metadata()
    return metadata | {"versions": [one.version for one in split.versions]}


def describe_statistics(models: Models, name: str | None, version: str | None) -> dict[str, Any]:
    """Return the statistics of a version, a model's, or all models' without a name.

    Raises UnknownModel.
    """
    if name is None:
        found = models.loaded
    else:
        split = models.current_split(name)
        found = split.loaded if version is None else [require_version(split, version)]
    return {"model_stats": [one.describe_statistics() for one in found]}
