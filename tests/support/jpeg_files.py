"""Change the markers of JPEG files."""

from __future__ import annotations

import re

END = b"\xff\xd9"


def segments_end(data: bytes) -> list[int]:
    """Return the positions behind SOI and behind each segment in front of the first scan."""
    ends = [2]
    while data[ends[-1] + 1] != 0xDA:
        at = ends[-1]
        ends.append(at + 2 + int.from_bytes(data[at + 2 : at + 4], "big"))
    return ends


def scan_starts(data: bytes) -> list[int]:
    """Return where the entropy-coded data of each scan begins."""
    starts = []
    for found in re.finditer(rb"\xff\xda", data):
        if found.start() >= segments_end(data)[-1]:
            size = int.from_bytes(data[found.end() : found.end() + 2], "big")
            starts.append(found.end() + size)
    return starts


def insert_segment(data: bytes, marker: int, body: bytes) -> bytes:
    """Return the file with one segment more, directly behind SOI."""
    segment = bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body
    return data[:2] + segment + data[2:]
