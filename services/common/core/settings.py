"""Settings from the environment, validated before anything else happens."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NoReturn, Self, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    HttpUrl,
    SecretStr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.common.observe.logs import get_logger
from services.common.peer.hold import HoldLimits

_ONE_URL = TypeAdapter(HttpUrl)


def _check_urls(text: str) -> str:
    return ",".join(_check_url(url.strip()) for url in text.split(","))


def _check_url(text: str) -> str:
    url = _ONE_URL.validate_python(text)
    plain = str(url).rstrip("/")
    # Any other part would be ignored silently.
    if url.path not in (None, "/") or url.query or url.fragment or url.username or url.password:
        raise ValueError("expected http://host:port, without a path, a query or a user")
    if url.port == 0:
        raise ValueError("port 0 is not an address to connect to")
    return plain


PeerUrls = Annotated[str, AfterValidator(_check_urls)]
"""One http:// or https:// address of a service, or several separated by commas."""


def _read_secret(path: object) -> object:
    try:
        return Path(str(path)).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ValueError(f"{path}: {reason}") from error


SecretFile = Annotated[SecretStr, BeforeValidator(_read_secret)]
"""A secret whose variable names the file that it is in, as clusters mount it."""


class ServiceSettings(BaseSettings):
    """The settings that all services have. Each process has one frozen object."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, use_attribute_docstrings=True
    )
    REMOVED: ClassVar[dict[str, str]] = {
        "LOG_FORMAT": "log lines are text on a terminal and JSON everywhere else",
    }
    """Variables of earlier versions, and what to do instead."""
    INNER_CONNECTIONS: ClassVar[int] = 1
    """Connections to the next service that each caller's connection may need."""

    host: str = "0.0.0.0"  # noqa: S104  # a container must be reachable from outside
    """Address to listen on."""
    port: int = Field(ge=0, le=65535)
    """Port to listen on; with 0 the kernel chooses a free port, which is logged."""
    metrics_port: int | None = Field(None, ge=0, le=65535)
    """A second port, without TLS: probes, and /metrics, which is then on no other."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level of messages to log."""
    request_timeout_ms: int = Field(30_000, ge=1, le=3_600_000)
    """Longest time for a request, in milliseconds; a caller's X-Timeout-Ms can only shorten it."""
    max_connections: int = Field(2048, ge=1, le=1_000_000)
    """Open connections; one more is refused with 503. A low limit on open files lowers it."""
    max_held_bytes: int = Field(24_000_000, ge=1_000)
    """Bytes of request bodies in memory, all requests together; more are refused with 429."""
    drain_delay_s: float = Field(0.0, ge=0, le=600)
    """Seconds after SIGTERM during which the service is not ready but still accepts requests."""
    drain_timeout_s: float = Field(25.0, ge=0, le=3600)
    """Seconds after the delay for requests in progress to finish."""
    tls_cert_file: Path | None = None
    """PEM file with the certificate and its chain; turns on TLS together with the next two."""
    tls_key_file: Path | None = None
    """PEM file with the certificate's private key, not encrypted."""
    tls_ca_file: Path | None = None
    """PEM file with the CA that signs the certificates of the other services."""
    tls_client_auth: Literal["required", "none"] = "required"
    """Whether callers must present a certificate of the CA."""

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        """Raise ValueError for a part of TLS: the rest would be plain HTTP, and nobody notices."""
        files = {
            name.upper(): getattr(self, name)
            for name in ("tls_cert_file", "tls_key_file", "tls_ca_file")
        }
        unset = [name for name, path in files.items() if path is None]
        if unset and len(unset) < len(files):
            raise ValueError(f"{', '.join(files)}: set all or none; not set: {', '.join(unset)}")
        if unset and "tls_client_auth" in self.model_fields_set:
            raise ValueError(f"TLS_CLIENT_AUTH: has no effect without {', '.join(files)}")
        return self

    @field_validator("metrics_port")
    @classmethod
    def _check_metrics_port(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value and value == info.data.get("port"):
            raise ValueError("expected another port than PORT")
        return value

    @property
    def files_per_caller(self) -> int:
        """How many connections each of the MAX_CONNECTIONS of callers may need."""
        return 1 + self.INNER_CONNECTIONS


class ForwardingSettings(ServiceSettings):
    """The settings of the services that send pictures on to another one."""

    hold_s: float = Field(10.0, ge=0, le=3600)
    """Seconds that a picture is held while the next service has no endpoint; 0: none is."""
    hold_requests: int = Field(100, ge=1, le=100_000)
    """Requests that are held at a time; one more is refused with 503."""
    hold_bytes: int = Field(20_000_000, ge=1_000)
    """Bytes of the bodies of all held requests; more are refused with 503."""
    ready_alone: bool = False
    """Be ready before the next service was reached once: where that is scaled to zero."""

    @property
    def hold_limits(self) -> HoldLimits:
        """The limits of held requests."""
        return HoldLimits(self.hold_s, self.hold_requests, self.hold_bytes)


T = TypeVar("T", bound=BaseSettings)


def load_settings(kind: type[T]) -> T:
    """Read the environment; ends the process with one line that names an invalid variable."""
    try:
        return kind()
    except ValidationError as error:
        _exit_with_reason(error, kind)


def warn_of_removed_variables(kind: type[ServiceSettings]) -> None:
    """Log a warning for each variable that is still set but has no effect any more."""
    for name in sorted(kind.REMOVED.keys() & {name for name in os.environ if os.environ[name]}):
        get_logger().warning("variable has no effect", variable=name, instead=kind.REMOVED[name])


def variables(kind: type[BaseSettings]) -> dict[str, FieldInfo]:
    """Return the fields by the names of their environment variables."""
    fields = kind.model_fields.items()
    return {field.alias or name.upper(): field for name, field in fields}


def _exit_with_reason(error: ValidationError, kind: type[BaseSettings]) -> NoReturn:
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] == "too_short":  # of a SecretStr, in words of lists
        reason = f"expected at least {first['ctx']['min_length']} characters"
    if not where:
        # Of several variables; the reason names them. The input is the whole environment.
        print(reason, file=sys.stderr)
        raise SystemExit(2)
    # Of a group of variables, like MODEL_<NAME>_PATH: the invalid one.
    variable = where[1] if "<" in where[0] else "_".join(where).upper()
    field = variables(kind).get(variable)
    secret = field is not None and "SecretStr" in repr(field.annotation)
    shown = not secret and first["type"] != "missing"
    found = f", found {first['input']!r}" if shown else ""
    print(f"{variable}: {reason}{found}", file=sys.stderr)
    raise SystemExit(2)
