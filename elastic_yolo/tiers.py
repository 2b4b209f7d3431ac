"""The three tiers of the pipeline and the ports that they listen on by default."""

from __future__ import annotations

PORTS = {"web": 5000, "preprocess": 8000, "inference": 4002}
"""From front to back."""

TIERS = tuple(PORTS)
"""The names of the tiers from front to back: folder, image, Deployment, metric label."""
