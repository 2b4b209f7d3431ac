"""Small requests to web APIs of sources, such as for versions and file locations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from elastic_yolo.provision.errors import ConfigError, SourceRefused
from elastic_yolo.provision.sources.http import (
    DIRECT,
    Connection,
    status_error,
    translated_errors,
)

_MOST_BYTES = 4 * 2**20

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class ApiResponse:
    """A complete response, with any status."""

    name: str
    """What messages call the server."""
    url: str
    """Address after redirects; may contain credentials."""
    status: int
    reason: str
    headers: httpx.Headers
    body: bytes

    def require_success(self) -> ApiResponse:
        """Return the response if its status is 2xx; raises SourceUnavailable or SourceRefused."""
        if not httpx.codes.is_success(self.status):
            raise status_error(self.name, self.status, self.reason)
        return self

    def parse(self, kind: type[M]) -> M:
        """Return the JSON body as a `kind`; raises as `require_success` does.

        Raises SourceRefused for any other body.
        """
        try:
            return kind.model_validate_json(self.require_success().body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise SourceRefused(f"{self.name}: invalid response: {field} {first['msg']}") from None


def call_api(
    address: str,
    *,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    method: str = "GET",
    redirects: bool = True,
    connection: Connection = DIRECT,
) -> ApiResponse:
    """Send a request and read the whole response; raises SourceUnavailable or SourceRefused."""
    with (
        translated_errors(address, connection),
        connection.client(follow_redirects=redirects) as client,
        client.stream(method, address, headers=headers, params=params) as response,
    ):
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > _MOST_BYTES:
                raise SourceRefused(
                    f"{connection.name(address)}: the response exceeds {_MOST_BYTES:,} bytes"
                )
        return ApiResponse(
            name=connection.name(address),
            url=str(response.url),
            status=response.status_code,
            reason=response.reason_phrase,
            headers=response.headers,
            body=bytes(body),
        )


def check_endpoint(name: str, address: str) -> str:
    """Return the base address in variable `name` without a trailing slash; raises ConfigError."""
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"{name}: expected an address that begins with https:// or http://")
    return address.rstrip("/")
