"""What can go wrong here. Every message is one line that says what to do.

AutoscalerError
├── ManifestError     a manifest is missing, unreadable, or says something that makes no sense
├── MetricUnavailable a metric gives no number of replicas
└── LabFailed         the lab could not start or go on
"""

from __future__ import annotations


class AutoscalerError(Exception):
    """The base of all of them."""


class ManifestError(AutoscalerError):
    """A manifest that cannot be read; the message names file, object and field."""


class MetricUnavailable(AutoscalerError):
    """A metric that gives no number of replicas; the message says why."""


class LabFailed(AutoscalerError):
    """A process of the lab did not start, or went away again and again."""
