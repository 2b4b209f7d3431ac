"""The error of a load test."""

from __future__ import annotations


class LoadTestError(Exception):
    """The run failed or could not start; the message is one line."""
