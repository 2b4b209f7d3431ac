"""Source hf://OWNER/REPO[@REVISION]/FILE: files of Hugging Face.

File addresses and the header with the commit:
https://huggingface.co/docs/huggingface_hub/package_reference/file_download
"""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager
from typing import NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit

from elastic_yolo.provision.errors import ConfigError, SourceRefused
from elastic_yolo.provision.sources.api import ApiResponse, call_api, check_endpoint
from elastic_yolo.provision.sources.http import open_with
from elastic_yolo.provision.sources.stream import Pinned, ResumePoint, SourceStream, redacted

_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([^/@]+))?((?:/[^/]+)*)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MOST_REDIRECTS = 5


class _Place(NamedTuple):
    repository: str
    revision: str
    path: str
    """Empty, or with a leading slash."""


def open_huggingface(address: str, start: ResumePoint) -> AbstractContextManager[SourceStream]:
    """See `stream.OpenSource`."""
    return open_with(_headers(), _url(_parse(address)), start)


def pin_huggingface(folder: str, name: str) -> Pinned | None:
    """See `stream.Pin`; the version is the commit."""
    place = _parse(folder)
    commit = place.revision
    if not _COMMIT.fullmatch(commit):
        commit = _request_commit(_url(place._replace(path=f"{place.path}/{name}")))
    if not commit:
        return None
    return Pinned(f"hf://{place.repository}@{commit}{place.path}", commit)


def _request_commit(url: str) -> str:
    """Return the commit that a file would be read from; empty if the server does not report it."""
    for _ in range(_MOST_REDIRECTS):
        response = call_api(url, headers=_headers(), method="HEAD", redirects=False)
        commit: str = response.headers.get("x-repo-commit", "")
        if _COMMIT.fullmatch(commit):
            return commit
        after = _same_host(url, response)
        if after is None:
            return ""
        url = after
    raise SourceRefused(f"{redacted(url)}: too many redirects")


def _same_host(url: str, response: ApiResponse) -> str | None:
    """Return the target of a redirect on the same host (a renamed repository), or None.

    Redirects to other hosts lead to the file's content, without its commit.
    """
    if not response.headers.get("location"):
        response.require_success()
        return None
    after = urljoin(url, response.headers["location"])
    return after if urlsplit(after)[:2] == urlsplit(url)[:2] else None


def _parse(address: str) -> _Place:
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ConfigError(f"{redacted(address)}: expected hf://OWNER/REPO[@REVISION]/FILE")
    return _Place(found[1], unquote(found[2] or "main"), found[3])


def _url(place: _Place) -> str:
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    base = check_endpoint("HF_ENDPOINT", endpoint)
    return f"{base}/{place.repository}/resolve/{quote(place.revision, safe='')}{quote(place.path)}"


def _headers() -> dict[str, str]:
    token = os.environ.get("HF_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}
