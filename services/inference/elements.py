"""The elements of a BYTES tensor: byte strings of any length, here picture files.

As binary data, a 4-byte little-endian length comes before each element. In JSON, which cannot hold
bytes, an element is a string of base64 (RFC 4648).

Source: Triton, `docs/protocol/extension_binary_data.md`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Any

from services.common.request.errors import MalformedRequest

_LENGTH_BYTES = 4


def join_elements(elements: Iterable[bytes]) -> bytes:
    """Return elements as binary data."""
    return b"".join(
        part for one in elements for part in (len(one).to_bytes(_LENGTH_BYTES, "little"), one)
    )


def split_elements(raw: memoryview, count: int) -> tuple[bytes, ...]:
    """Return `count` elements of binary data; raises MalformedRequest unless they fill it."""
    elements = []
    at = 0
    for _ in range(count):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(raw[at:start], "little")
        if at > len(raw):
            break
        elements.append(bytes(raw[start:at]))
    if len(elements) < count or at < len(raw):
        raise MalformedRequest(
            f"expected {count} elements with a 4-byte little-endian length before each; they do "
            f"not fill the {len(raw)} bytes of binary data"
        )
    return tuple(elements)


def read_strings(data: Any, count: int) -> tuple[bytes, ...]:
    """Return `count` elements of JSON data: strings of base64, or lists of one string each.

    Raises MalformedRequest for anything else.
    """
    if not isinstance(data, list) or len(data) != count:
        raise MalformedRequest(f"expected {count} strings of base64 as data")
    return tuple(_decode_string(element) for element in data)


def _decode_string(element: Any) -> bytes:
    text = element[0] if isinstance(element, list) and len(element) == 1 else element
    if isinstance(text, str):
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            pass  # reported below like any other wrong element
    raise MalformedRequest("expected strings of base64 as data")
