"""Files of Hugging Face: hf://OWNER/REPO[@REVISION]/FILE.

The address of a file, and the commit that it is answered from:
https://huggingface.co/docs/huggingface_hub/package_reference/file_download
"""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager
from typing import NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit

from elastic_yolo.provision.errors import ConfigError, SourceRefused
from elastic_yolo.provision.sources.http import open_with
from elastic_yolo.provision.sources.opened import Opened, Pinned, Start, shown
from elastic_yolo.provision.sources.web import Answer, ask, check_endpoint

_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([^/@]+))?((?:/[^/]+)*)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MOST_REDIRECTS = 5


class _Place(NamedTuple):
    repository: str
    revision: str
    path: str
    """With a slash in front, if there is any."""


def open_huggingface(address: str, start: Start) -> AbstractContextManager[Opened]:
    """See `opened.Open`."""
    return open_with(_headers(), _url(_parse(address)), start)


def pin_huggingface(folder: str, name: str) -> Pinned | None:
    """See `opened.Pin`; the version is the commit."""
    place = _parse(folder)
    commit = place.revision
    if not _COMMIT.fullmatch(commit):
        commit = _ask_commit(_url(place._replace(path=f"{place.path}/{name}")))
    if not commit:
        return None
    return Pinned(f"hf://{place.repository}@{commit}{place.path}", commit)


def _ask_commit(url: str) -> str:
    """Return the commit that a file would come from; nothing if the server does not say it."""
    for _ in range(_MOST_REDIRECTS):
        answer = ask(url, headers=_headers(), method="HEAD", redirects=False)
        commit: str = answer.headers.get("x-repo-commit", "")
        if _COMMIT.fullmatch(commit):
            return commit
        after = _same_host(url, answer)
        if after is None:
            return ""
        url = after
    raise SourceRefused(f"{shown(url)}: too many redirects")


def _same_host(url: str, answer: Answer) -> str | None:
    """Return where a repository that was renamed is now; None if the answer is no redirect.

    Other hosts have the files, and know of no commits.
    """
    if not answer.headers.get("location"):
        answer.expect()
        return None
    after = urljoin(url, answer.headers["location"])
    return after if urlsplit(after)[:2] == urlsplit(url)[:2] else None


def _parse(address: str) -> _Place:
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ConfigError(f"{shown(address)}: expected hf://OWNER/REPO[@REVISION]/FILE")
    return _Place(found[1], unquote(found[2] or "main"), found[3])


def _url(place: _Place) -> str:
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    base = check_endpoint("HF_ENDPOINT", endpoint)
    return f"{base}/{place.repository}/resolve/{quote(place.revision, safe='')}{quote(place.path)}"


def _headers() -> dict[str, str]:
    token = os.environ.get("HF_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}
