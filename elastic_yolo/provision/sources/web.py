"""Small answers of web interfaces: which version there is, and where its files are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from elastic_yolo.provision.errors import ConfigError, SourceRefused
from elastic_yolo.provision.sources.http import TIMEOUT, refusals, refused
from elastic_yolo.provision.sources.opened import shown

_MOST_BYTES = 4 * 2**20

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Answer:
    """What came, whatever its status."""

    address: str
    status: int
    reason: str
    headers: httpx.Headers
    body: bytes

    def expect(self) -> Answer:
        """Return it if it is a success; raises SourceUnavailable or SourceRefused otherwise."""
        if not httpx.codes.is_success(self.status):
            raise refused(self.address, self.status, self.reason)
        return self

    def read(self, kind: type[M]) -> M:
        """Return the JSON that it is; raises as `expect` does, also if it is something else."""
        try:
            return kind.model_validate_json(self.expect().body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise SourceRefused(
                f"{shown(self.address)}: not the answer that was expected: {field} {first['msg']}"
            ) from None


def ask(
    address: str,
    *,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    method: str = "GET",
    redirects: bool = True,
) -> Answer:
    """Ask, and read all of the answer. Raises SourceUnavailable or SourceRefused."""
    with (
        refusals(address),
        httpx.Client(timeout=TIMEOUT, follow_redirects=redirects) as client,
        client.stream(method, address, headers=headers, params=params) as response,
    ):
        body = bytearray()
        for piece in response.iter_bytes():
            body += piece
            if len(body) > _MOST_BYTES:
                raise SourceRefused(f"{shown(address)}: answered with more than {_MOST_BYTES:,} B")
        reason = response.reason_phrase
        return Answer(address, response.status_code, reason, response.headers, bytes(body))


def check_endpoint(name: str, address: str) -> str:
    """Return the base address that a setting has, without a slash; raises ConfigError."""
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"{name}: expected an address with https:// or http://")
    return address.rstrip("/")
