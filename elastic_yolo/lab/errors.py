"""The errors of the lab. Every message is one line.

AutoscalerError
├── ManifestError     a manifest is missing, unreadable or invalid
├── MetricUnavailable a metric has no value to scale by
└── LabFailed         the lab could not start or continue
"""

from __future__ import annotations


class AutoscalerError(Exception):
    """The base class."""


class ManifestError(AutoscalerError):
    """An invalid manifest; the message names file, object and field."""


class MetricUnavailable(AutoscalerError):
    """A metric without a value; the message says why."""


class LabFailed(AutoscalerError):
    """A process of the lab did not start, or ended repeatedly."""
