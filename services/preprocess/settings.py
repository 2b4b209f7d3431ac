"""What the preprocess service can be told."""

from __future__ import annotations

from pydantic import Field

from elastic_yolo.tiers import PORTS
from services.common.core.settings import PeerUrls, ServiceSettings


class PreprocessSettings(ServiceSettings):
    """Environment of the preprocess service."""

    port: int = Field(PORTS["preprocess"], ge=0, le=65535)
    """Port to listen on; 0 lets the system choose, and the log says which."""
    inference_url: PeerUrls
    """Where inference is: http://host:port, all addresses of a DNS name, or a list with commas."""
    max_body_bytes: int = Field(20_000_000, ge=1_000, le=1_000_000_000)
    """Largest picture file, in bytes."""
    max_pixels: int = Field(64_000_000, ge=1, le=1_000_000_000)
    """Largest picture, in pixels; decoding takes three bytes for each."""
    exact: bool = False
    """Answer to the last digit as Darknet does: decode every pixel and send float32; slower."""
    max_queue: int = Field(128, ge=1, le=100_000)
    """Pictures that may wait for decoding; one more is answered with 429."""
    threads: int = Field(0, ge=0, le=1024)
    """Pictures decoded at once; 0 takes the number from the container's CPU quota."""
