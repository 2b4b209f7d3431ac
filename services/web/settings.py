"""The settings of the web service."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from elastic_yolo.tiers import PORTS
from services.common.core.settings import PeerUrls, ServiceSettings


class WebSettings(ServiceSettings):
    """Environment of the web service."""

    port: int = Field(PORTS["web"], ge=0, le=65535)
    """Port to listen on; with 0 the kernel chooses a free port, which is logged."""
    preprocess_url: PeerUrls
    """Address of preprocess: http://host:port (all its DNS addresses), or several with commas."""
    max_body_bytes: int = Field(20_000_000, ge=1_000, le=1_000_000_000)
    """Largest request body, in bytes."""
    max_pixels: int = Field(64_000_000, ge=1, le=1_000_000_000)
    """Largest picture, in pixels."""
    max_in_flight: int = Field(128, ge=1, le=100_000)
    """Pictures in flight; one more is refused with 429, as is one that would be too late."""
    access_token: SecretStr | None = Field(None, min_length=16)
    """Requests must carry this bearer token (16 characters at least); if unset, the API is open."""
    tls_client_auth: Literal["required", "none"] = "none"
    """Whether callers must present a certificate of the CA."""
