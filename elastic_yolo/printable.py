"""Text from files and from other machines, as it is safe on a terminal and in a log."""

from __future__ import annotations


def escape_unprintable(text: str) -> str:
    r"""Return a text with escapes, such as `\n`, for what cannot be printed: one line, no colours.

    Names of files and messages of other programs must not forge a line of a log.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def body_text(body: bytes, most: int = 200) -> str:
    """Return the first bytes of a response as one printable line, for an error's message."""
    return escape_unprintable(body[:most].decode(errors="backslashreplace"))
