"""Files that are layers in a registry of containers: oci://REGISTRY/REPOSITORY[:TAG|@DIGEST]/FILE.

A layer's name is its annotation org.opencontainers.image.title, as `oras push` writes it.
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
from elastic_yolo.provision.sources.http import open_with
from elastic_yolo.provision.sources.oci_access import base_address, sign_in
from elastic_yolo.provision.sources.opened import Opened, Pinned, Start, shown
from elastic_yolo.provision.sources.web import ask

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
        """Return the digests of the layers that have a name."""
        titles = [((layer.annotations or {}).get(_TITLE), layer.digest) for layer in self.layers]
        return {title: digest for title, digest in titles if title}


def pin_oci(folder: str, _name: str) -> Pinned:
    """See `opened.Pin`; the version is the beginning of the manifest's digest."""
    place = _parse(folder)
    _, digest, manifest = _read_manifest(folder, place)
    pinned = f"oci://{place.registry}/{place.repository}@{digest}"
    return Pinned(pinned, digest.removeprefix("sha256:")[:12], manifest.files())


@contextmanager
def open_oci(address: str, start: Start) -> Iterator[Opened]:
    """See `opened.Open`."""
    folder, _, name = address.rpartition("/")
    place = _parse(folder)
    headers, _, manifest = _read_manifest(folder, place)
    digest = manifest.files().get(name)
    if digest is None:
        raise SourceRefused(f"{shown(folder)}: no layer has the title {name}")
    with open_with(headers, f"{place.url}/blobs/{digest}", start) as opened:
        yield opened


def _read_manifest(folder: str, place: _Place) -> tuple[dict[str, str], str, _Manifest]:
    """Return what further requests need to be let in, the manifest's digest, and the manifest."""
    url = f"{place.url}/manifests/{place.reference}"
    answer = ask(url, headers={"Accept": _MANIFESTS})
    headers: dict[str, str] = {}
    if answer.status == 401:
        headers = sign_in(place.registry, place.repository, answer)
        answer = ask(url, headers={"Accept": _MANIFESTS, **headers})
    digest = digest_of_bytes(answer.expect().body)
    if place.reference.startswith("sha256:") and place.reference != digest:
        raise WrongContent(f"{shown(folder)}: expected {place.reference}, found {digest}")
    return headers, digest, answer.read(_Manifest)


def _parse(folder: str) -> _Place:
    found = _ADDRESS.fullmatch(folder)
    if found is None:
        raise ConfigError(f"{shown(folder)}: expected oci://REGISTRY/REPOSITORY[:TAG|@DIGEST]/FILE")
    registry, repository, tag, digest = found.groups()
    return _Place(registry, repository, digest or tag or "latest")
