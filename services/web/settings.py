"""What the web service can be told."""

from __future__ import annotations

from pydantic import Field, SecretStr

from elastic_yolo.tiers import PORTS
from services.common.core.settings import PeerUrls, ServiceSettings


class WebSettings(ServiceSettings):
    """Environment of the web service."""

    port: int = Field(PORTS["web"], ge=0, le=65535)
    """Port to listen on; 0 lets the system choose, and the log says which."""
    preprocess_url: PeerUrls
    """Where preprocess is: http://host:port, all addresses of a DNS name, or a list with commas."""
    max_body_bytes: int = Field(20_000_000, ge=1_000, le=1_000_000_000)
    """Largest request body, in bytes."""
    max_pixels: int = Field(64_000_000, ge=1, le=1_000_000_000)
    """Largest picture, in pixels."""
    max_in_flight: int = Field(128, ge=1, le=100_000)
    """Pictures on their way at once; one more gets 429, as does one that would come too late."""
    access_token: SecretStr | None = Field(None, min_length=16)
    """Only who sends it as `Authorization: Bearer` gets answers; without it everybody does."""
