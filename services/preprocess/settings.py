"""The settings of the preprocess service."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from elastic_yolo.tiers import PORTS
from services.common.core.settings import PeerUrls, ServiceSettings


class PreprocessSettings(ServiceSettings):
    """Environment of the preprocess service."""

    REMOVED: ClassVar[dict[str, str]] = {
        **ServiceSettings.REMOVED,
        "EXACT": "the services always decode at reduced size; for Darknet's exact digits use "
        "`elastic-yolo detect --exact`, or `exact=True` in the library",
    }

    port: int = Field(PORTS["preprocess"], ge=0, le=65535)
    """Port to listen on; with 0 the kernel chooses a free port, which is logged."""
    inference_url: PeerUrls
    """Address of inference: http://host:port (all its DNS addresses), or several with commas."""
    max_body_bytes: int = Field(20_000_000, ge=1_000, le=1_000_000_000)
    """Largest picture file, in bytes."""
    max_pixels: int = Field(64_000_000, ge=1, le=1_000_000_000)
    """Largest picture, in pixels; all that are decoded at a time share 8 bytes for each."""
    max_queue: int = Field(128, ge=1, le=100_000)
    """Pictures that may wait for decoding; one more is refused with 429."""
    threads: int = Field(0, ge=0, le=1024)
    """Threads that decode pictures; 0: as many as the container's CPU quota."""
