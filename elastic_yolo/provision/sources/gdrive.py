"""Files of Google Drive: gdrive:FILE_ID.

A file has no path, only an id, so each file of a model has an address of its own.
https://developers.google.com/workspace/drive/api/reference/rest/v3/files
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated

from pydantic import BaseModel, Field

from elastic_yolo.provision.errors import ConfigError, SourceRefused, SourceUnavailable
from elastic_yolo.provision.sources.http import opening
from elastic_yolo.provision.sources.opened import Opened, Start, shown
from elastic_yolo.provision.sources.web import Answer, ask, check_endpoint

_ADDRESS = re.compile(r"gdrive:([\w-]+)")
_SCOPE = "https://www.googleapis.com/auth/drive.readonly"
_FIELDS = "size,sha256Checksum,headRevisionId"
# Drive says with 403 that it is asked too often.
_TOO_OFTEN = ("rateLimitExceeded", "userRateLimitExceeded")


class _Described(BaseModel):
    """What Drive knows about a file; documents of its own have no size."""

    size: Annotated[int, Field(ge=0)]
    revision: Annotated[str, Field(alias="headRevisionId")] = ""
    sha256: Annotated[str, Field(alias="sha256Checksum")] = ""


@contextmanager
def open_gdrive(address: str, start: Start) -> Iterator[Opened]:
    """See `opened.Open`; what Drive calls the content is asked for first, in a request of its own.

    Its media have no ETag that a condition could name.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ConfigError(
            f"{shown(address)}: expected gdrive:FILE_ID, in the `source` of each file"
        )
    base = os.environ.get("GOOGLE_DRIVE_ENDPOINT") or "https://www.googleapis.com"
    url = f"{check_endpoint('GOOGLE_DRIVE_ENDPOINT', base)}/drive/v3/files/{found[1]}"
    headers = _headers()
    described = _describe(url, headers)
    validator = described.sha256 or described.revision or None
    headers["Accept-Encoding"] = "identity"
    offset = start.offset if validator and validator == start.same_as else 0
    if 0 < offset < described.size:
        headers["Range"] = f"bytes={offset}-"
    with opening(headers, f"{url}?alt=media&supportsAllDrives=true", offset) as opened:
        yield replace(opened, size=described.size, validator=validator)


def _describe(url: str, headers: dict[str, str]) -> _Described:
    answer = ask(url, headers=headers, params={"fields": _FIELDS, "supportsAllDrives": "true"})
    if answer.status == 403 and _asked_too_often(answer):
        raise SourceUnavailable(f"{shown(url)}: asked too often")
    return answer.read(_Described)


def _asked_too_often(answer: Answer) -> bool:
    return any(f'"{reason}"'.encode() in answer.body for reason in _TOO_OFTEN)


def _headers() -> dict[str, str]:
    """Return who asks: an account, or whoever has a key, which is enough for shared files."""
    token = os.environ.get("GOOGLE_OAUTH_ACCESS_TOKEN")
    account = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    key = os.environ.get("GOOGLE_API_KEY")
    if not token and account:
        token = _token_of(account)
    if token:
        return {"Authorization": f"Bearer {token}"}
    return {"x-goog-api-key": key} if key else {}


def _token_of(path: str) -> str:
    """Return a token for the service account in a file."""
    # Here, since it takes a while: most runs need none of it.
    import urllib3  # noqa: PLC0415
    from google.auth.exceptions import GoogleAuthError, TransportError  # noqa: PLC0415
    from google.auth.transport.urllib3 import Request  # noqa: PLC0415
    from google.oauth2.service_account import Credentials  # noqa: PLC0415

    try:
        credentials = Credentials.from_service_account_file(path, scopes=[_SCOPE])
        credentials.refresh(Request(urllib3.PoolManager()))
    except OSError as error:
        raise ConfigError(f"GOOGLE_APPLICATION_CREDENTIALS: {path}: {error.strerror}") from None
    except TransportError as error:
        raise SourceUnavailable(f"the account in {path}: {type(error).__name__}") from None
    except (GoogleAuthError, ValueError) as error:
        raise SourceRefused(f"the account in {path}: {type(error).__name__}") from None
    return str(credentials.token)
