"""Change the chunks of WebP files."""

from __future__ import annotations


def webp_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return type and content of each chunk."""
    chunks = []
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        chunks.append((data[at : at + 4], data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return chunks


def webp_file(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """Return a file of these chunks."""
    body = b"".join(
        kind + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)
        for kind, content in chunks
    )
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body
