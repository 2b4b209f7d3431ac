"""The facts about the model in the headers of a response whose body is a picture."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, unquote

_HEADERS = {"name": "x-model-name", "version": "x-model-version", "digest": "x-model-digest"}


def to_headers(model: Mapping[str, str]) -> dict[str, str]:
    """Return name, version and digest as headers, percent-encoded: a name may be of any script."""
    return {header: quote(model[fact], safe=":+") for fact, header in _HEADERS.items()}


def from_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return name, version and digest; raises KeyError if one is missing."""
    return {fact: unquote(headers[header]) for fact, header in _HEADERS.items()}
