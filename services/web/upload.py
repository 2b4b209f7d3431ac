"""Find the picture in a request: the body itself, or the field `image` of a form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from services.common.request.errors import MalformedRequest, UnsupportedMedia

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

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
        shown = media_type.decode("latin-1")[:80]
        what = (
            f"Content-Type {shown!r} is not accepted"
            if shown
            else "the request has no Content-Type"
        )
        raise UnsupportedMedia(f"{what}: {_EXPECTED}")
    if not picture:
        raise MalformedRequest(f"the picture is empty: {_EXPECTED}")
    return picture


class _FormReader:
    """Keeps the content of the first field `image` while a form is parsed, and nothing else."""

    def __init__(self) -> None:
        self.picture: bytearray | None = None
        self._parts = 0
        self._wanted = False
        self._header = b""
        self._disposition = b""

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_begin": self._begin_header,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._content,
        }

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise MalformedRequest(f"the form has more than {_MAX_PARTS} fields")
        self._disposition = b""

    def _begin_header(self) -> None:
        self._header = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition += data[start:end]

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._wanted = self.picture is None and options.get(b"name") == FIELD.encode()
        if self._wanted:
            self.picture = bytearray()

    def _content(self, data: bytes, start: int, end: int) -> None:
        if self._wanted and self.picture is not None:
            self.picture += memoryview(data)[start:end]


def _read_form(body: bytes, boundary: bytes) -> bytes:
    reader = _FormReader()
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise MalformedRequest(f"the form cannot be parsed: {_EXPECTED}") from error
    if reader.picture is None:
        raise MalformedRequest(f"the form has no field {FIELD!r}: {_EXPECTED}")
    return bytes(reader.picture)
