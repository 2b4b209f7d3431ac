"""A version's configuration in the form of Triton's model configuration extension.

Source: triton-inference-server/common, `protobuf/model_config.proto`: the JSON form of its message
ModelConfig.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.inference.versions.loaded_version import LoadedVersion


def describe_config(version: LoadedVersion, max_batch: int) -> dict[str, Any]:
    """Return the configuration of a version whose requests have at most `max_batch` pictures.

    `max_batch_size` is 0: the first dimension is a part of each shape. With another value it would
    have to be the same in all tensors, and `detections` has a row for each object.
    """
    metadata, engine = version.metadata(), version.detector.engine
    # Without lists, which a configuration's parameters cannot hold.
    facts = {name: str(metadata["parameters"][name]) for name in ("digest", "resize", "precision")}
    parameters = {**facts, "max_pictures": str(max_batch)}
    return {
        "name": metadata["name"],
        "platform": metadata["platform"],
        "backend": engine.name,
        "max_batch_size": 0,
        "input": _describe_tensors(metadata["inputs"]),
        "output": _describe_tensors(metadata["outputs"]),
        "instance_group": [
            {
                "name": metadata["name"],
                "kind": "KIND_GPU" if engine.device == "cuda" else "KIND_CPU",
                "count": version.scheduler.streams,
            }
        ],
        "parameters": {name: {"string_value": value} for name, value in parameters.items()},
    }


def _describe_tensors(tensors: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "name": tensor["name"],
            "data_type": f"TYPE_{tensor['datatype']}",
            "dims": tensor["shape"],
        }
        for tensor in tensors
    ]
