"""What a caller wants to be detected, and by which model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ENSEMBLE_PREFIX = "ensemble:"


@dataclass(frozen=True)
class DetectionRequest:
    """The model and the thresholds for a picture; without `model` the default one."""

    model: str | None = None
    version: str | None = None
    parameters: dict[str, float] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """By which the table of routes may choose a back end; names in lower case."""

    @property
    def is_for_ensemble(self) -> bool:
        """Whether several models are to process the picture."""
        return self.model is not None and self.model.startswith(ENSEMBLE_PREFIX)
