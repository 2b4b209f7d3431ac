"""What can go wrong with a load test."""

from __future__ import annotations


class LoadTestError(Exception):
    """The run failed, or could not begin; the message is one line for a person."""
