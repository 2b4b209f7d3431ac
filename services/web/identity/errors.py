"""The error of a file of API keys, at the start of the service or when the file changes."""

from __future__ import annotations


class KeysFileInvalid(Exception):
    """The file cannot be read, or is not valid; the message is a line that begins with its path."""
