"""Members of a request's JSON objects; null for an optional one is as if it were absent."""

from __future__ import annotations

from typing import Any

from services.common.request.errors import MalformedRequest


def optional_object(parent: dict[str, Any], key: str) -> dict[str, Any]:
    """Return a member that is an object; raises MalformedRequest for any other value."""
    value = parent.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedRequest(f"{key}: expected an object")
    return value


def optional_flag(parent: dict[str, Any], key: str) -> bool | None:
    """Return a member that is true or false; raises MalformedRequest for any other value."""
    value = parent.get(key)
    if value is not None and not isinstance(value, bool):
        raise MalformedRequest(f"{key}: expected true or false")
    return value


def note_null(parent: dict[str, Any], key: str) -> str:
    """Return the end of a message if null is where a value is needed."""
    return f", {key} is null" if key in parent and parent[key] is None else ""
