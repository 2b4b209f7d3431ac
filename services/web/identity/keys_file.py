"""The file of API keys: YAML with the digests of each client's keys, and the client's rights."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from elastic_yolo.api_key import ACCESS_TOKEN_CLIENT, CLIENT_NAME, CLIENT_NAME_RULE
from elastic_yolo.strict_yaml import parse_strict_yaml
from services.common.request.identity import Identity, Limits
from services.web.identity.errors import KeysFileInvalid

_MAX_BYTES = 1_000_000
_MAX_DEPTH = 6


def _check_name(text: str) -> str:
    if not CLIENT_NAME.fullmatch(text):
        raise ValueError(f"expected {CLIENT_NAME_RULE}")
    return text


def _check_digest(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError("expected 64 hexadecimal digits in lower case, as `sha256sum` prints them")
    return text


_Name = Annotated[str, AfterValidator(_check_name)]
_Digest = Annotated[str, AfterValidator(_check_digest)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class _Key(_Entry):
    sha256: _Digest
    """SHA-256 of the key."""
    expires: datetime | None = None
    """From then on the key is refused; without an offset it is UTC."""

    @field_validator("expires")
    @classmethod
    def _set_offset(cls, value: datetime | None) -> datetime | None:
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


class _Limits(_Entry):
    rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    burst: int | None = Field(None, ge=1)
    concurrency: int | None = Field(None, ge=1)
    daily: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.burst is not None and self.rate is None:
            raise ValueError("burst has no effect without rate")
        return self


class _Client(_Entry):
    name: _Name
    keys: tuple[_Key, ...]
    """All that are valid at the moment: two while a key is replaced."""
    tenant: _Name | None = None
    models: tuple[str, ...] | None = None
    limits: _Limits | None = None

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if name == ACCESS_TOKEN_CLIENT:
            raise ValueError(f"{name} is the client of ACCESS_TOKEN")
        return name

    def identity(self) -> Identity:
        limits = None if self.limits is None else Limits(**self.limits.model_dump())
        return Identity("key", self.name, self.tenant or self.name, self.models, limits)


class _File(_Entry):
    clients: tuple[_Client, ...] = ()

    @field_validator("clients")
    @classmethod
    def _check_unique(cls, clients: tuple[_Client, ...]) -> tuple[_Client, ...]:
        names: set[str] = set()
        digests: set[str] = set()
        for client in clients:
            if client.name in names:
                raise ValueError(f"two clients are called {client.name}")
            names.add(client.name)
            for key in client.keys:
                if key.sha256 in digests:
                    raise ValueError(f"{client.name}: the key of an entry before it")
                digests.add(key.sha256)
        return clients


Key = tuple[str, datetime | None, Identity]
"""The digest of a key, its expiry and its client."""


def read_content(path: Path) -> bytes:
    """Return what the file has in it; raises KeysFileInvalid."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise KeysFileInvalid(f"{path}: {error.strerror}") from error
    if len(content) > _MAX_BYTES:
        raise KeysFileInvalid(f"{path}: more than {_MAX_BYTES:,} bytes")
    return content


def parse_keys(path: Path, content: bytes) -> list[Key]:
    """Return the keys in a file's content; takes 0.4 s for a thousand. Raises KeysFileInvalid."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise KeysFileInvalid(f"{path}: not UTF-8") from error
    found = parse_strict_yaml(_File, text, path=path, most_depth=_MAX_DEPTH, error=KeysFileInvalid)
    clients = [(client, client.identity()) for client in found.clients]
    return [
        (key.sha256, key.expires, identity) for client, identity in clients for key in client.keys
    ]
