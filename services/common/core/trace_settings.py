"""The settings of traces, which are off unless an OTLP endpoint is set: docs/traces.md.

OpenTelemetry's SDK is imported only if traces are on.
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
    """OpenTelemetry's variables for whether, where and how many traces are sent.

    The SDK reads these and all others itself, and replaces invalid values with defaults. They are
    validated here so that a mistake ends the start.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, use_attribute_docstrings=True
    )

    otel_sdk_disabled: bool = False
    """true turns traces off."""
    otel_traces_exporter: Literal["otlp", "none"] = "otlp"
    """none turns traces off."""
    otel_exporter_otlp_traces_endpoint: str | None = None
    """URL for spans, including the path; overrides the next variable."""
    otel_exporter_otlp_endpoint: str | None = None
    """URL of the collector; the SDK appends /v1/traces."""
    otel_exporter_otlp_traces_protocol: str | None = None
    """Protocol for spans: http/protobuf; overrides the next variable."""
    otel_exporter_otlp_protocol: str | None = None
    """Protocol for all signals: http/protobuf."""
    otel_traces_sampler: Annotated[_Sampler, BeforeValidator(str.lower)] = "parentbased_always_on"
    """Which requests are traced; `parentbased_...` follows the caller's sampled flag."""
    otel_traces_sampler_arg: float = Field(1.0, ge=0, le=1)
    """Fraction of requests, 0 to 1, for the samplers with `traceidratio`."""

    @field_validator("otel_exporter_otlp_traces_endpoint", "otel_exporter_otlp_endpoint")
    @classmethod
    def _check_endpoint(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not _overridden(info, "otel_exporter_otlp_traces_endpoint"):
            _URL.validate_python(value)
        return value

    @field_validator("otel_exporter_otlp_traces_protocol", "otel_exporter_otlp_protocol")
    @classmethod
    def _check_protocol(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value not in (None, _PROTOCOL) and not _overridden(
            info, "otel_exporter_otlp_traces_protocol"
        ):
            raise ValueError(
                f"only {_PROTOCOL} is supported; most collectors receive it on port 4318"
            )
        return value

    @property
    def wanted(self) -> bool:
        """Whether spans are sent if there is an endpoint."""
        return not self.otel_sdk_disabled and self.otel_traces_exporter != "none"


def _overridden(info: ValidationInfo, by: str) -> bool:
    """Return whether a field has no effect because the more specific variable `by` is set."""
    return info.field_name != by and info.data.get(by) is not None


def start_tracing(service: str) -> Tracing | None:
    """Return the tracing of a service, or None if traces are off; requires configured logs.

    Ends the process with one line if a variable is invalid.
    """
    if not (os.environ.get(_ENDPOINT) or os.environ.get(_TRACES_ENDPOINT)):
        return None
    if not load_settings(TraceSettings).wanted:
        return None
    from services.common.observe.tracing import Tracing  # noqa: PLC0415  # 0.2 s and 12 MB

    try:
        return Tracing(service)
    except (ValueError, RuntimeError, ImportError) as error:
        # The SDK validates the rest: queue sizes, limits, credentials.
        print(f"OTEL_...: {error}", file=sys.stderr)
        raise SystemExit(2) from None
