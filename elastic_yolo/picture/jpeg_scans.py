"""The scans of a JPEG: whether they are all there, and what decoders only complain about.

Source: ITU-T T.81, Annexes B (markers) and G (progressive scans); JFIF 1.02; Adobe's technical note
5116 for the segment APP14.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from elastic_yolo.picture.errors import PictureUndecodable
from elastic_yolo.picture.header import (
    MAX_SEGMENTS,
    PROGRESSIVE,
    SCAN,
    START_OF_FRAME,
    jpeg_segments,
)

END_OF_IMAGE = b"\xff\xd9"

# Scans of a progressive JPEG; encoders write about ten. An attack: each takes a pass over the whole
# picture, whatever the file holds for it.
MAX_SCANS = 100

_APP0, _APP14 = 0xE0, 0xEE
_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC9})
_COEFFICIENTS = 64

# A marker that has a segment, or ends the image. FF 00 is data, and a restart is in a scan. Where
# the end is missing, the start of another file (FF D8) takes its place.
_NEXT_SEGMENT = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
_ENDS = (END_OF_IMAGE, b"\xff\xd8")


def mend(data: bytes) -> bytes:
    """Return the same picture without what decoders only complain about.

    That is stray bytes before the first scan, an unknown revision of JFIF, an unknown colour
    transform of Adobe and, in sequential files, impossible parameters of the first scan. libjpeg
    reports the first complaint alone, so these would hide that a scan ends early. The result ends
    with the end of the image, also if another file begins before it. Raises PictureUndecodable,
    ValueError or IndexError.
    """
    parts = [b"\xff\xd8"]
    sequential = False
    for marker, start, end in jpeg_segments(data):
        body = bytearray(data[start:end])
        if marker in _SEQUENTIAL:
            sequential = True
        elif marker == _APP0 and body.startswith(b"JFIF\0") and len(body) > 6:
            body[5:7] = b"\1\1"
        elif marker == _APP14 and body.startswith(b"Adobe") and len(body) > 11 and body[11] > 2:
            # libjpeg assumes YCbCr or YCCK, too.
            body[11] = 1 if _component_count(data) == 3 else 2
        elif marker == SCAN and sequential:
            body[-3:] = bytes([0, _COEFFICIENTS - 1, 0])
        parts += [bytes([0xFF, marker]), (len(body) + 2).to_bytes(2, "big"), bytes(body)]
        if marker == SCAN:
            parts.append(data[end : _end_of_scans(data, end)])
            break
    return b"".join([*parts, END_OF_IMAGE])


def lacks_end(data: bytes) -> bool:
    """Return whether no end-of-image marker follows the first scan; raises PictureUndecodable."""
    scan = next((end for marker, _, end in jpeg_segments(data) if marker == SCAN), len(data))
    return data.find(END_OF_IMAGE, scan) < 0


def _component_count(data: bytes) -> int:
    return next((data[at + 5] for kind, at, _ in jpeg_segments(data) if kind in START_OF_FRAME), 0)


def check_scans(data: bytes) -> None:
    """Raise PictureUndecodable unless the scans have all coefficients of all components.

    For files of several scans, which may end between two of them: libjpeg makes a blurred or
    colourless picture of those that are there, and says nothing. Also raises ValueError and
    IndexError for segments that are too short.
    """
    missing: dict[int, set[int]] = {}
    scans = 0
    progressive = False
    for marker, segment in _all_segments(data):
        if marker in START_OF_FRAME:
            progressive = marker in PROGRESSIVE
            ids = segment[6 : 6 + 3 * segment[5] : 3]
            missing = {one: set(range(_COEFFICIENTS)) for one in ids}
        elif marker == SCAN:
            scans += 1
            if scans > MAX_SCANS:
                raise PictureUndecodable(f"the JPEG file has more than {MAX_SCANS} scans")
            # A sequential scan has all coefficients, whatever its parameters say.
            first, last, approximation = segment[-3:] if progressive else (0, 63, 0)
            if approximation & 0x0F == 0:
                for one in segment[1:-3:2]:
                    missing.get(one, set()).difference_update(range(first, last + 1))
    if any(missing.values()):
        raise PictureUndecodable("the JPEG file is truncated: it ends before its last scan")


def _all_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and payload of all whole segments up to the end of the image."""
    end = 2
    for marker, start, end in jpeg_segments(data):
        yield marker, data[start:end]
        if marker == SCAN:
            break
    yield from ((data[at + 1], data[at + 4 : behind]) for at, behind in _later_segments(data, end))


def _later_segments(data: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Yield (position of the marker, byte behind the segment) behind the first scan's header."""
    for _ in range(MAX_SEGMENTS):
        found = _NEXT_SEGMENT.search(data, at)
        if found is None or found[0] in _ENDS:
            return
        length = int.from_bytes(data[found.end() : found.end() + 2], "big")
        at = found.end() + max(2, length)
        yield found.start(), at
    raise PictureUndecodable(f"the JPEG file has more than {MAX_SEGMENTS:,} segments in its scans")


def _end_of_scans(data: bytes, at: int) -> int:
    """Return where the image ends, without the marker."""
    for _, behind in _later_segments(data, at):
        at = behind
    found = _NEXT_SEGMENT.search(data, at)
    return len(data) if found is None else found.start()
