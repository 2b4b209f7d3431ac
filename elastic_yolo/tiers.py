"""The three tiers of the pipeline and their default ports."""

from __future__ import annotations

PORTS = {"web": 5000, "preprocess": 8000, "inference": 4002}
"""Default port of each tier, from front to back."""

TIERS = tuple(PORTS)
"""Names of the tiers from front to back, as in folders, images, Deployments and metric labels."""
