"""Source models:/NAME/VERSION: models of an MLflow registry.

Moving addresses are models:/NAME@ALIAS, models:/NAME/latest and models:/NAME#KEY=VALUE, the newest
version with that tag.
The registry returns the location of a version's files; another source reads them there, or the
tracking server serves them (mlflow-artifacts:). REST: https://mlflow.org/docs/latest/rest-api.html
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from contextlib import AbstractContextManager
from typing import Annotated
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, Field

from elastic_yolo.provision.errors import ConfigError, SourceRefused
from elastic_yolo.provision.sources.api import M, call_api, check_endpoint
from elastic_yolo.provision.sources.files import open_file
from elastic_yolo.provision.sources.http import open_with
from elastic_yolo.provision.sources.s3 import open_s3
from elastic_yolo.provision.sources.stream import (
    OpenSource,
    Pinned,
    ResumePoint,
    SourceStream,
    redacted,
)

_FORMS = "expected models:/NAME/VERSION, NAME/latest, NAME@ALIAS or NAME#KEY=VALUE"
_NUMBERED = re.compile(r"([^/@#'\"`]+)/(\d+|latest)")
_ALIASED = re.compile(r"([^/@#]+)@([^/@#]+)")
# Quotes would end the value inside the search filter.
_TAGGED = re.compile(r"([^/@#'\"`]+)#([^/@#='\"`]+)=([^'\"`]+)")
_LOGGED = re.compile(r"models:/(m-[0-9A-Za-z]+)")


_RUN = re.compile(r"runs:/([0-9A-Za-z]+)((?:/.*)?)")


class _Version(BaseModel):
    version: Annotated[str, Field(pattern=r"^\d+$")]


class _Aliased(BaseModel):
    model_version: _Version


class _Found(BaseModel):
    model_versions: list[_Version] = []


class _Place(BaseModel):
    artifact_uri: str


class _Described(BaseModel):
    info: _Place


class _Logged(BaseModel):
    model: _Described


class _OfRun(BaseModel):
    run: _Described


def pin_mlflow(folder: str, _name: str) -> Pinned:
    """See `stream.Pin`; the version is the registry's number."""
    name, version = _find(folder)
    return Pinned(f"models:/{name}/{version}", version)


def open_mlflow(address: str, start: ResumePoint) -> AbstractContextManager[SourceStream]:
    """See `stream.OpenSource`."""
    folder, _, file = address.rpartition("/")
    name, version = _find(folder)
    place = _get(_Place, "model-versions/get-download-uri", name=name, version=version).artifact_uri
    if run := _RUN.fullmatch(place):
        place = _get(_OfRun, "runs/get", run_id=run[1]).run.info.artifact_uri.rstrip("/") + run[2]
    if logged := _LOGGED.fullmatch(place):
        place = _get(_Logged, f"logged-models/{logged[1]}").model.info.artifact_uri
    kind = urlsplit(place).scheme
    if kind not in _PLACES:
        raise SourceRefused(f"{redacted(address)}: its files are at {kind}:, which cannot be read")
    return _PLACES[kind](f"{place.rstrip('/')}/{file}", start)


def open_artifact(address: str, start: ResumePoint) -> AbstractContextManager[SourceStream]:
    """See `stream.OpenSource`; takes mlflow-artifacts:/PATH."""
    parts = urlsplit(address)
    base = _base()
    # Credentials must only go to the configured server, not to any server that it names.
    if parts.netloc not in ("", urlsplit(base).netloc):
        raise SourceRefused(f"{redacted(address)}: the files are at another tracking server")
    path = quote(parts.path.lstrip("/"))
    return open_with(_headers(), f"{base}/api/2.0/mlflow-artifacts/artifacts/{path}", start)


def _find(folder: str) -> tuple[str, str]:
    """Return the model name and the version number that an address refers to now."""
    stated = folder.removeprefix("models:/")
    if found := _NUMBERED.fullmatch(stated):
        return (found[1], found[2]) if found[2] != "latest" else _newest(folder, found[1], "")
    if found := _ALIASED.fullmatch(stated):
        response = _get(_Aliased, "registered-models/alias", name=found[1], alias=found[2])
        return found[1], response.model_version.version
    if found := _TAGGED.fullmatch(stated):
        return _newest(folder, found[1], f" AND tags.`{found[2]}` = '{found[3]}'")
    raise ConfigError(f"{redacted(folder)}: {_FORMS}")


def _newest(folder: str, name: str, condition: str) -> tuple[str, str]:
    found = _get(
        _Found,
        "model-versions/search",
        filter=f"name = '{name}'{condition}",
        order_by="version_number DESC",
        max_results="1",
    )
    if not found.model_versions:
        raise SourceRefused(f"{redacted(folder)}: no such version")
    return name, found.model_versions[0].version


def _get(kind: type[M], path: str, **params: str) -> M:
    response = call_api(f"{_base()}/api/2.0/mlflow/{path}", headers=_headers(), params=params)
    return response.parse(kind)


def _base() -> str:
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    return check_endpoint("MLFLOW_TRACKING_URI", address)


def _headers() -> dict[str, str]:
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    if user:
        password = os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
        return {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}
    return {"Authorization": f"Bearer {token}"} if token else {}


_PLACES: dict[str, OpenSource] = {
    "": open_file,
    "file": open_file,
    "s3": open_s3,
    "mlflow-artifacts": open_artifact,
}
