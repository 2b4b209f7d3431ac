"""Source gdrive:FILE_ID: files of Google Drive.

A file has an id instead of a path, so every file of a model needs its own address.
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
from elastic_yolo.provision.sources.api import ApiResponse, call_api, check_endpoint
from elastic_yolo.provision.sources.http import open_once
from elastic_yolo.provision.sources.library import require_library
from elastic_yolo.provision.sources.stream import ResumePoint, SourceStream, redacted

_ADDRESS = re.compile(r"gdrive:([\w-]+)")
_SCOPE = "https://www.googleapis.com/auth/drive.readonly"
_FIELDS = "size,sha256Checksum,headRevisionId"
# Drive reports rate limiting with status 403 and one of these reasons.
_TOO_OFTEN = ("rateLimitExceeded", "userRateLimitExceeded")


class _Described(BaseModel):
    """Drive's metadata of a file. Google Docs have no size and are refused."""

    size: Annotated[int, Field(ge=0)]
    revision: Annotated[str, Field(alias="headRevisionId")] = ""
    sha256: Annotated[str, Field(alias="sha256Checksum")] = ""


@contextmanager
def open_gdrive(address: str, start: ResumePoint) -> Iterator[SourceStream]:
    """See `stream.OpenSource`; requests the file's metadata first.

    Drive's downloads have no ETag for a conditional request, so its checksum is the validator.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ConfigError(
            f"{redacted(address)}: expected gdrive:FILE_ID, in the `source` of each file"
        )
    base = os.environ.get("GOOGLE_DRIVE_ENDPOINT") or "https://www.googleapis.com"
    url = f"{check_endpoint('GOOGLE_DRIVE_ENDPOINT', base)}/drive/v3/files/{found[1]}"
    headers = _headers()
    described = _describe(url, headers)
    validator = described.sha256 or described.revision or None
    headers["Accept-Encoding"] = "identity"
    offset = start.offset if validator and validator == start.validator else 0
    if 0 < offset < described.size:
        headers["Range"] = f"bytes={offset}-"
    with open_once(headers, f"{url}?alt=media&supportsAllDrives=true", offset) as opened:
        yield replace(opened, size=described.size, validator=validator)


def _describe(url: str, headers: dict[str, str]) -> _Described:
    response = call_api(
        url, headers=headers, params={"fields": _FIELDS, "supportsAllDrives": "true"}
    )
    if response.status == 403 and _is_rate_limited(response):
        raise SourceUnavailable(f"{redacted(url)}: rate limit exceeded")
    return response.parse(_Described)


def _is_rate_limited(response: ApiResponse) -> bool:
    return any(f'"{reason}"'.encode() in response.body for reason in _TOO_OFTEN)


def _headers() -> dict[str, str]:
    """Return the credentials: a token of an account, or an API key, which allows shared files."""
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
    require_library("google.auth", "GOOGLE_APPLICATION_CREDENTIALS")
    # Imported here because it is slow and most runs do not need it.
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
