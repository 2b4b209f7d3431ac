"""Sources of model files: one module for each kind of address."""

from __future__ import annotations

from urllib.parse import urlsplit

from elastic_yolo.provision.errors import ConfigError
from elastic_yolo.provision.sources.files import open_file
from elastic_yolo.provision.sources.gdrive import open_gdrive
from elastic_yolo.provision.sources.http import open_http
from elastic_yolo.provision.sources.huggingface import open_huggingface, pin_huggingface
from elastic_yolo.provision.sources.mlflow import open_artifact, open_mlflow, pin_mlflow
from elastic_yolo.provision.sources.oci import open_oci, pin_oci
from elastic_yolo.provision.sources.pypi import open_pypi
from elastic_yolo.provision.sources.s3 import open_s3
from elastic_yolo.provision.sources.stream import (
    OpenSource,
    Pin,
    Pinned,
    ResumePoint,
    SourceStream,
    redacted,
)
from elastic_yolo.provision.sources.zoo import open_zoo

__all__ = [
    "OpenSource",
    "Pinned",
    "ResumePoint",
    "SourceStream",
    "choose_pin",
    "choose_source",
    "redacted",
]

_KINDS: dict[str, OpenSource] = {
    "": open_file,
    "file": open_file,
    "gdrive": open_gdrive,
    "hf": open_huggingface,
    "http": open_http,
    "https": open_http,
    "mlflow-artifacts": open_artifact,
    "models": open_mlflow,
    "oci": open_oci,
    "pypi": open_pypi,
    "s3": open_s3,
    "zoo": open_zoo,
}
# Sources whose addresses may refer to another version later.
_MOVING: dict[str, Pin] = {"hf": pin_huggingface, "models": pin_mlflow, "oci": pin_oci}


def choose_source(address: str) -> OpenSource:
    """Return the function that opens an address; raises ConfigError for an unknown kind."""
    kind = urlsplit(address).scheme
    if kind not in _KINDS:
        known = ", ".join(name for name in _KINDS if name)
        raise ConfigError(f"{redacted(address)}: unknown kind of source: expected one of {known}")
    return _KINDS[kind]


def choose_pin(folder: str) -> Pin | None:
    """Return the function that pins a folder's version; None if its source does not move."""
    return _MOVING.get(urlsplit(folder).scheme)
