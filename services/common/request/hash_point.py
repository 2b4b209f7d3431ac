"""A number that a request id always hashes to: for choices that every process makes alike."""

from __future__ import annotations

import hashlib


def hash_point(uid: str, total: int, purpose: bytes = b"") -> int:
    """Return a number below `total`; ids that count up, or share a prefix, spread evenly.

    Choices with different `purpose`, at most 16 bytes, are independent: the ids that one choice
    selects are spread over all of another's.
    """
    digest = hashlib.blake2b(uid.encode(), digest_size=8, person=purpose).digest()
    # Scaled, not the remainder: multiplying all weights by one factor moves no id.
    return int.from_bytes(digest) * total >> 64
