"""Find the picture in a request while it arrives: the body itself, or the field `image` of a form.

Forms are read as RFC 7578 and RFC 2046 (section 5.1) describe them, and as clients write them:
docs/decisions/025-forms.md.
"""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from python_multipart.multipart import parse_options_header

from elastic_yolo.names import nearest_names
from services.common.core.picture_route import PARAMETERS
from services.common.request.errors import (
    MalformedRequest,
    ParameterOutOfRange,
    UnsupportedMedia,
)

FIELD = "image"
_EXPECTED = (
    f"send multipart/form-data with a field {FIELD!r}, or the picture with Content-Type image/*"
)
# Other services take these as fields of a form; here they would be ignored.
_QUERY_PARAMETERS = [parameter["name"] for parameter in PARAMETERS]
# Of a field that is a misspelt parameter. Less would refuse names that mean something else.
_SIMILARITY = 0.9
# A form has a picture and perhaps a few fields that we ignore; thousands would be an attack.
_MAX_PARTS = 32
# Headers of one part. Browsers send 100 bytes and a file name.
_MAX_PART_HEAD_BYTES = 16 * 1024
# RFC 2046 allows 70.
_MAX_BOUNDARY_BYTES = 256
# Blanks behind a boundary, which RFC 2046 calls transport padding.
_MAX_PADDING_BYTES = 64
# The begin of a form without its boundary, kept for the message.
_SHOWN_BYTES = 1024

_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
# What follows `--boundary`: the end of the form, or of the line.
_BEHIND_BOUNDARY = re.compile(rb"--|[ \t]{0,%d}(?=\r?\n)" % _MAX_PADDING_BYTES)
# The same, as far as it has arrived.
_MAY_BE_BOUNDARY = re.compile(rb"(?:-|[ \t]{0,%d}\r?)\Z" % _MAX_PADDING_BYTES)
_FIRST_BOUNDARY = re.compile(rb"(?:^|\n)--([^\r\n]{1,80})")
# RFC 8187, as some clients write it: name*=utf-8''image
_EXTENDED_NAME = re.compile(rb";\s*name\*\s*=\s*\"?[\w-]+'[\w-]*'([^;\"\s]+)", re.IGNORECASE)


class PictureBody:
    """A body that is the picture itself."""

    def select(self, piece: bytes) -> bytes:
        """Return what to keep of a piece of the body: all of it."""
        return piece

    def finish(self, kept: bytes) -> bytes:
        """Return the picture; raises MalformedRequest if it is empty."""
        return _require_content(kept)


class FormBody:
    """A form, of which only the content of the first field `image` is kept.

    Its parts are separated by lines of `--` and the boundary. Before the first there may be a
    preamble, behind the last anything. Lines may end with a line feed alone.
    """

    def __init__(self, boundary: bytes) -> None:
        """Take the boundary that Content-Type states."""
        if len(boundary) > _MAX_BOUNDARY_BYTES:
            raise MalformedRequest(f"the form's boundary exceeds {_MAX_BOUNDARY_BYTES} bytes")
        self._boundary = boundary
        self._delimiter = b"\n--" + boundary
        # The first boundary need not follow a line.
        self._buffer = b"\n"
        self._begin = b""
        self._parts = 0
        self._in_head = False
        self._is_over = False
        self._names: list[bytes] = []
        self._wanted = False
        self._transfer_encoding = b""

    def select(self, piece: bytes) -> bytes:
        """Return what a piece of the body adds to the picture; raises MalformedRequest."""
        if self._parts == 0:
            self._begin += piece[: _SHOWN_BYTES - len(self._begin)]
        kept = []
        self._buffer += piece
        while not self._is_over:
            if self._in_head:
                if not self._read_head():
                    break
            else:
                content, is_complete = self._read_content()
                if self._wanted:
                    kept.append(content)
                if not is_complete:
                    break
        return kept[0] if len(kept) == 1 else b"".join(kept)

    def finish(self, kept: bytes) -> bytes:
        """Return the picture; raises MalformedRequest if there is none.

        Raises ParameterOutOfRange for a field with the name of a query parameter. A form without
        its last boundary ends with its body: the picture tells whether it is whole.
        """
        if not self._is_over:
            # The line of a last boundary may be incomplete.
            kept += self.select(b"\r\n")
            if self._wanted and not self._in_head:
                kept += self._buffer.removesuffix(b"\r\n")
        if self._parts == 0 and not self._is_over:
            raise MalformedRequest(self._describe_begin())
        if FIELD.encode() not in self._names:
            names = ", ".join(repr(name.decode("latin-1")[:40]) for name in self._names[:5])
            found = f"; the form has {names}" if names else ""
            raise MalformedRequest(f"the form has no field {FIELD!r}: {_EXPECTED}{found}")
        for name in self._names:
            if name != FIELD.encode() and (parameter := _meant_parameter(name)) is not None:
                shown = name.decode("latin-1")[:40]
                raise ParameterOutOfRange(
                    f"{shown}: a field of the form, expected in the query: ?{parameter}=..."
                )
        return _require_content(_decode_content(kept, self._transfer_encoding))

    def _read_content(self) -> tuple[bytes, bool]:
        """Take content from the buffer; whether it is complete: followed by a boundary."""
        buffer, start = self._buffer, 0
        while (at := buffer.find(self._delimiter, start)) >= 0:
            behind = at + len(self._delimiter)
            end = _BEHIND_BOUNDARY.match(buffer, behind)
            content_end = at - 1 if buffer[at - 1 : at] == b"\r" else at
            if end is not None:
                self._buffer = buffer[end.end() :]
                self._begin_part(is_last=end.group() == b"--")
                return buffer[:content_end], True
            if _MAY_BE_BOUNDARY.match(buffer, behind):
                break
            start = behind  # the line only begins like a boundary
        else:
            # The last bytes may be the begin of a boundary.
            content_end = max(0, len(buffer) - len(self._delimiter) - 1)
        self._buffer = buffer[content_end:]
        return buffer[:content_end], False

    def _begin_part(self, *, is_last: bool) -> None:
        self._is_over = is_last
        self._in_head = True
        if is_last:
            return
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise MalformedRequest(f"the form has more than {_MAX_PARTS} fields")

    def _read_head(self) -> bool:
        """Take a part's headers from the buffer, which begins with a line end; whether they end."""
        end = _BLANK_LINE.search(self._buffer)
        if (end.start() if end else len(self._buffer)) > _MAX_PART_HEAD_BYTES:
            raise MalformedRequest(
                f"the headers of a form field exceed {_MAX_PART_HEAD_BYTES:,} bytes"
            )
        if end is None:
            return False
        headers = {}
        for line in _FOLD.sub(b" ", self._buffer[: end.start()]).split(b"\n"):
            name, _, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip()
        self._buffer = self._buffer[end.end() :]
        self._in_head = False
        self._begin_field(headers)
        return True

    def _begin_field(self, headers: dict[bytes, bytes]) -> None:
        name = _field_name(headers.get(b"content-disposition", b""))
        self._wanted = name == FIELD.encode() and name not in self._names
        self._names.append(name)
        if self._wanted:
            self._transfer_encoding = headers.get(b"content-transfer-encoding", b"").lower()
            coding = headers.get(b"content-encoding", b"identity").lower()
            if coding not in (b"", b"identity"):
                raise UnsupportedMedia(
                    f"the field {FIELD!r} has Content-Encoding {coding.decode('latin-1')[:40]!r}: "
                    "compress the whole body and state it in the request's headers"
                )

    def _describe_begin(self) -> str:
        stated = self._boundary.decode("latin-1")
        found = _FIRST_BOUNDARY.search(self._begin)
        if found is None:
            return f"the form cannot be parsed: it has no line '--{stated}': {_EXPECTED}"
        used = found.group(1).rstrip().decode("latin-1")
        if used == stated:
            return "the form cannot be parsed: its lines end neither with CR LF nor with LF"
        return (
            f"the form cannot be parsed: Content-Type states the boundary {stated!r}, "
            f"and the form uses {used!r}"
        )


def find_body(content_type: str | None) -> PictureBody | FormBody:
    """Return what finds the picture in a body of this type.

    Raises UnsupportedMedia for a type that is neither form nor picture, and MalformedRequest for a
    form without a boundary.
    """
    media_type, options = parse_options_header(content_type or "")
    if media_type == b"multipart/form-data":
        boundary = options.get(b"boundary")
        if not boundary:
            raise MalformedRequest("multipart/form-data without a boundary")
        return FormBody(boundary)
    if media_type.startswith(b"image/"):
        return PictureBody()
    shown = media_type.decode("latin-1")[:80]
    what = f"Content-Type {shown!r} is not accepted" if shown else "the request has no Content-Type"
    raise UnsupportedMedia(f"{what}: {_EXPECTED}")


def _field_name(disposition: bytes) -> bytes:
    _, options = parse_options_header(disposition)
    extended = _EXTENDED_NAME.search(disposition)
    return unquote_to_bytes(extended.group(1)) if extended else options.get(b"name", b"")


def _meant_parameter(name: bytes) -> str | None:
    """Return the query parameter whose name a field has, perhaps misspelt."""
    near = nearest_names(name.decode("latin-1"), _QUERY_PARAMETERS, similarity=_SIMILARITY)
    return near[0] if near else None


def _decode_content(content: bytes, encoding: bytes) -> bytes:
    """Undo a Content-Transfer-Encoding, which mail libraries write (RFC 7578 discourages it)."""
    if encoding in (b"", b"7bit", b"8bit", b"binary"):
        return content
    shown = encoding.decode("latin-1")[:40]
    if encoding != b"base64":
        raise UnsupportedMedia(
            f"Content-Transfer-Encoding {shown!r} is not accepted: send binary or base64"
        )
    try:
        plain = content.translate(None, b" \t\r\n")
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        raise MalformedRequest(f"the field {FIELD!r} is not {shown}, as its part states") from None


def _require_content(picture: bytes) -> bytes:
    if not picture:
        raise MalformedRequest(f"the picture is empty: {_EXPECTED}")
    return picture
