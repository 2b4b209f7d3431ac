"""Text of others, as it is safe on a terminal and in a log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.printable import body_text, escape_unprintable


@given(st.text())
def test_any_text_becomes_one_printable_line(text: str) -> None:
    assert escape_unprintable(text).isprintable()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"detail": "no"}', '{"detail": "no"}'),
        ("Käse".encode(), "Käse"),
        (b"one\r\n\x1b[2J", r"one\r\n\x1b[2J"),
        (b"\xff\xfe", r"\xff\xfe"),
        (b"a" * 300, "a" * 200),
    ],
)
def test_a_body_is_shown_as_its_text(body: bytes, text: str) -> None:
    assert body_text(body) == text
