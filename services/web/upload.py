"""Find the picture in a request: the body itself, or the field `image` of a form."""

from __future__ import annotations

from dataclasses import dataclass, field

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from services.common.errors import MalformedRequest, UnsupportedMedia

FIELD = "image"
_EXPECTED = (
    f"send multipart/form-data with a field {FIELD!r}, or the picture with Content-Type image/*"
)
# A form has a picture and perhaps a few fields that we ignore; thousands would be an attack.
_MAX_PARTS = 32


def find_picture(body: bytes, content_type: str | None) -> bytes:
    """Return the picture's bytes.

    Raises MalformedRequest for an empty body or a form without the field, and UnsupportedMedia
    for a body that claims to be neither form nor picture.
    """
    media_type, options = parse_options_header(content_type or "")
    if media_type == b"multipart/form-data":
        boundary = options.get(b"boundary")
        if not boundary:
            raise MalformedRequest("multipart/form-data without a boundary")
        picture = _read_form(body, boundary)
    elif media_type.startswith(b"image/"):
        picture = body
    else:
        shown = media_type.decode("latin-1")[:80] or "no Content-Type"
        raise UnsupportedMedia(f"{shown!r} is not taken: {_EXPECTED}")
    if not picture:
        raise MalformedRequest(f"the picture is empty: {_EXPECTED}")
    return picture


@dataclass
class _Part:
    header: bytearray = field(default_factory=bytearray)
    disposition: bytes = b""
    start: int = 0
    content: bytearray = field(default_factory=bytearray)


def _read_form(body: bytes, boundary: bytes) -> bytes:
    parts: list[_Part] = []
    names: list[bytes] = []

    def begin() -> None:
        if len(parts) >= _MAX_PARTS:
            raise MalformedRequest(f"the form has more than {_MAX_PARTS} fields")
        parts.append(_Part())

    def header_field(data: bytes, start: int, end: int) -> None:
        parts[-1].header += data[start:end]

    def header_value(data: bytes, start: int, end: int) -> None:
        if bytes(parts[-1].header).lower() == b"content-disposition":
            parts[-1].disposition += data[start:end]

    def header_end() -> None:
        parts[-1].header.clear()

    def headers_finished() -> None:
        _, options = parse_options_header(parts[-1].disposition)
        names.append(options.get(b"name", b""))

    def content(data: bytes, start: int, end: int) -> None:
        if names[-1] == FIELD.encode():
            parts[-1].content += memoryview(data)[start:end]

    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": begin,
            "on_header_field": header_field,
            "on_header_value": header_value,
            "on_header_end": header_end,
            "on_headers_finished": headers_finished,
            "on_part_data": content,
        },
    )
    try:
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise MalformedRequest(f"the form cannot be parsed: {_EXPECTED}") from error
    for name, part in zip(names, parts, strict=False):
        if name == FIELD.encode():
            return bytes(part.content)
    raise MalformedRequest(f"the form has no field {FIELD!r}: {_EXPECTED}")
