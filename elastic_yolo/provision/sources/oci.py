"""Source oci://REGISTRY/REPOSITORY[:TAG|@DIGEST]/FILE: layers in a container registry.

A layer's file name is its annotation org.opencontainers.image.title, as `oras push` writes it.
https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NamedTuple

from pydantic import BaseModel, Field

from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.names import Digest
from elastic_yolo.provision.errors import ConfigError, SourceRefused, WrongContent
from elastic_yolo.provision.sources.api import call_api
from elastic_yolo.provision.sources.http import open_with
from elastic_yolo.provision.sources.oci_auth import base_address, sign_in
from elastic_yolo.provision.sources.stream import Pinned, ResumePoint, SourceStream, redacted

_ADDRESS = re.compile(
    r"oci://([\w.-]+(?::\d+)?)/([a-z0-9][a-z0-9._/-]*)(?::([\w][\w.-]*)|@(sha256:[0-9a-f]{64}))?"
)
_TITLE = "org.opencontainers.image.title"
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)


class _Place(NamedTuple):
    registry: str
    repository: str
    reference: str
    """A tag or a digest."""

    @property
    def url(self) -> str:
        return f"{base_address(self.registry)}/v2/{self.repository}"


class _Layer(BaseModel):
    digest: Digest
    annotations: dict[str, str] | None = None


class _Manifest(BaseModel):
    layers: Annotated[list[_Layer], Field(max_length=1000)]

    def files(self) -> dict[str, str]:
        """Return the digests of the layers with a title, by title."""
        titles = [((layer.annotations or {}).get(_TITLE), layer.digest) for layer in self.layers]
        return {title: digest for title, digest in titles if title}


def pin_oci(folder: str, _name: str) -> Pinned:
    """See `stream.Pin`; the version is the first 12 digits of the manifest's digest."""
    place = _parse(folder)
    _, digest, manifest = _read_manifest(folder, place)
    pinned = f"oci://{place.registry}/{place.repository}@{digest}"
    return Pinned(pinned, digest.removeprefix("sha256:")[:12], manifest.files())


@contextmanager
def open_oci(address: str, start: ResumePoint) -> Iterator[SourceStream]:
    """See `stream.OpenSource`."""
    folder, _, name = address.rpartition("/")
    place = _parse(folder)
    headers, _, manifest = _read_manifest(folder, place)
    digest = manifest.files().get(name)
    if digest is None:
        raise SourceRefused(f"{redacted(folder)}: no layer has the title {name}")
    with open_with(headers, f"{place.url}/blobs/{digest}", start) as opened:
        yield opened


def _read_manifest(folder: str, place: _Place) -> tuple[dict[str, str], str, _Manifest]:
    """Return the authorization headers for further requests, the manifest's digest, and it."""
    url = f"{place.url}/manifests/{place.reference}"
    response = call_api(url, headers={"Accept": _MANIFESTS})
    headers: dict[str, str] = {}
    if response.status == 401:
        headers = sign_in(place.registry, place.repository, response)
        response = call_api(url, headers={"Accept": _MANIFESTS, **headers})
    digest = digest_of_bytes(response.require_success().body)
    if place.reference.startswith("sha256:") and place.reference != digest:
        raise WrongContent(f"{redacted(folder)}: expected {place.reference}, found {digest}")
    return headers, digest, response.parse(_Manifest)


def _parse(folder: str) -> _Place:
    found = _ADDRESS.fullmatch(folder)
    if found is None:
        raise ConfigError(
            f"{redacted(folder)}: expected oci://REGISTRY/REPOSITORY[:TAG|@DIGEST]/FILE"
        )
    registry, repository, tag, digest = found.groups()
    return _Place(registry, repository, digest or tag or "latest")
