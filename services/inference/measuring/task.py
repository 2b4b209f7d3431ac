"""What a service and the process that measures precisions tell each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Task(BaseModel):
    """What to measure; sent as one line of JSON, followed by the bytes of the pictures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parent: int
    """Process id of the service."""
    model: Path
    cache_key: str
    """The model's, when the service loaded it."""
    cache: Path
    engine: str
    device: str
    threads: Annotated[int, Field(ge=1)]
    precisions: tuple[str, ...]
    """To measure, fp32 among them; int8 is made first if the cache has none."""
    folder: Path | None
    """CALIBRATION_DIR."""
    required: int
    """Number of pictures that the measurement needs."""
    received: int
    """Number of pictures of requests that follow this line."""


class Reply(BaseModel):
    """How the measurement ended; sent back as one line of JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    error: str | None = None
    """Why nothing was measured."""
    in_folder: int | None = None
    """Number of usable pictures of the folder, if these and those of requests were too few."""
