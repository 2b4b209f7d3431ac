"""Configuration from the environment, checked before anything else happens."""

from __future__ import annotations

import sys
from typing import Annotated, Literal, NoReturn, TypeVar, get_args

from pydantic import AfterValidator, Field, HttpUrl, SecretStr, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

_ONE_URL = TypeAdapter(HttpUrl)


def _check_urls(text: str) -> str:
    return ",".join(_check_url(url.strip()) for url in text.split(","))


def _check_url(text: str) -> str:
    url = _ONE_URL.validate_python(text)
    plain = str(url).rstrip("/")
    # Anything more would be ignored, which nobody who writes it expects.
    if url.path not in (None, "/") or url.query or url.fragment or url.username or url.password:
        raise ValueError("expected http://host:port, without a path, a query or a user")
    if url.port == 0:
        raise ValueError("port 0 is nowhere")
    return plain


PeerUrls = Annotated[str, AfterValidator(_check_urls)]
"""One http:// or https:// address of a service, or several with commas between them."""


class ServiceSettings(BaseSettings):
    """What every service can be told. One frozen object for each process."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, use_attribute_docstrings=True
    )

    host: str = "0.0.0.0"  # noqa: S104  # a container must be reachable from outside
    """Address to listen on."""
    port: int = Field(ge=0, le=65535)
    """Port to listen on; 0 lets the system choose, and the log says which."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least important message that is logged."""
    log_format: Literal["auto", "json", "text"] = "auto"
    """How log lines look; auto means text on a terminal and JSON elsewhere."""
    request_timeout_ms: int = Field(30_000, ge=1, le=3_600_000)
    """Longest time for a request, in milliseconds; a caller's X-Timeout-Ms can only shorten it."""
    max_connections: int = Field(2048, ge=1, le=1_000_000)
    """Connections open at once; one more is answered with 503 and closed."""
    max_held_bytes: int = Field(256_000_000, ge=1_000)
    """Bytes of request bodies held at once; what would exceed it is answered with 429."""
    drain_delay_s: float = Field(0.0, ge=0, le=600)
    """Seconds to go on serving as not ready after SIGTERM, until balancers have noticed."""
    drain_timeout_s: float = Field(25.0, ge=0, le=3600)
    """Seconds that requests in flight may still take after that."""


T = TypeVar("T", bound=BaseSettings)


def load_settings(kind: type[T]) -> T:
    """Read the environment, or end the process with one line that names the variable."""
    try:
        return kind()
    except ValidationError as error:
        _refuse(error, kind)


def variables(kind: type[BaseSettings]) -> dict[str, FieldInfo]:
    """Return the fields by what the environment calls them."""
    fields = kind.model_fields.items()
    return {field.alias or name.upper(): field for name, field in fields}


def _refuse(error: ValidationError, kind: type[BaseSettings]) -> NoReturn:
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    # Of a group of variables, like MODEL_<NAME>_PATH, the one that is wrong.
    variable = where[1] if "<" in where[0] else "_".join(where).upper()
    field = variables(kind).get(variable)
    secret = field is not None and SecretStr in get_args(field.annotation)
    shown = not secret and first["type"] != "missing"
    found = f", found {first['input']!r}" if shown else ""
    print(f"{variable}: {first['msg']}{found}", file=sys.stderr)
    raise SystemExit(2)
