"""Traces are off unless an OTLP endpoint is set; see docs/traces.md.

Nothing here imports OpenTelemetry's SDK before it is wanted.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
    HttpUrl,
    TypeAdapter,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.common.core.settings import load_settings

if TYPE_CHECKING:
    from services.common.observe.tracing import Tracing

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_PROTOCOL = "http/protobuf"
_URL = TypeAdapter(HttpUrl)

_Sampler = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]


class TraceSettings(BaseSettings):
    """The standard variables that decide whether, where and how much.

    The SDK replaces what it does not understand by a default, so they are checked here. It reads
    them itself, and all others.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, use_attribute_docstrings=True
    )

    otel_sdk_disabled: bool = False
    """True turns traces off."""
    otel_traces_exporter: Literal["otlp", "none"] = "otlp"
    """none turns traces off."""
    otel_exporter_otlp_traces_endpoint: str | None = None
    """Where spans are sent, path included; without it the next one holds."""
    otel_exporter_otlp_endpoint: str | None = None
    """The collector's address, to which /v1/traces is added."""
    otel_exporter_otlp_traces_protocol: str | None = None
    """How they are sent, which is http/protobuf; without it the next one holds."""
    otel_exporter_otlp_protocol: str | None = None
    """The same for all signals."""
    otel_traces_sampler: Annotated[_Sampler, BeforeValidator(str.lower)] = "parentbased_always_on"
    """Which requests are traced; those that begin with `parentbased` do as the caller does."""
    otel_traces_sampler_arg: float = Field(1.0, ge=0, le=1)
    """The part of all requests that a sampler with `traceidratio` traces."""

    @field_validator("otel_exporter_otlp_traces_endpoint", "otel_exporter_otlp_endpoint")
    @classmethod
    def _check_endpoint(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not _overruled(info, "otel_exporter_otlp_traces_endpoint"):
            _URL.validate_python(value)
        return value

    @field_validator("otel_exporter_otlp_traces_protocol", "otel_exporter_otlp_protocol")
    @classmethod
    def _check_protocol(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value not in (None, _PROTOCOL) and not _overruled(
            info, "otel_exporter_otlp_traces_protocol"
        ):
            raise ValueError(f"only {_PROTOCOL} is spoken here, to port 4318 of most collectors")
        return value

    @property
    def wanted(self) -> bool:
        """Whether spans are to be sent, given that there is an endpoint."""
        return not self.otel_sdk_disabled and self.otel_traces_exporter != "none"


def _overruled(info: ValidationInfo, by: str) -> bool:
    """Return whether the value of a field is not used because there is a more special one."""
    return info.field_name != by and info.data.get(by) is not None


def start_tracing(service: str) -> Tracing | None:
    """Begin to trace where the environment says so; logs must have been configured.

    Ends the process with one line if a variable is wrong.
    """
    if not (os.environ.get(_ENDPOINT) or os.environ.get(_TRACES_ENDPOINT)):
        return None
    if not load_settings(TraceSettings).wanted:
        return None
    from services.common.observe.tracing import Tracing  # noqa: PLC0415  # a fifth of a second, 12 MB

    try:
        return Tracing(service)
    except (ValueError, RuntimeError, ImportError) as error:
        # What is left: sizes of queues, limits, credentials.
        print(f"OTEL_...: {error}", file=sys.stderr)
        raise SystemExit(2) from None
