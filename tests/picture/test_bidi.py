"""The order of characters in text that runs from right to left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.picture.bidi import visual_runs


def drawn(text: str) -> str:
    """Return the characters from left to right on the paper."""
    return "".join(run[::-1] if is_reversed else run for run, is_reversed in visual_runs(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat 12", "cat 12"),
        ("אבג", "גבא"),
        ("אבג דהו", "והד גבא"),
        ("אב cd גד", "דג cd בא"),
        ("ab גד ef", "ab דג ef"),
        ("אב 12", "12 בא"),
        ("אב 1.25 גד", "דג 1.25 בא"),
        ("ab גד 12", "ab 12 דג"),
        ("ab (גד)", "ab (דג)"),
        ("قط ٣٤", "٣٤ طق"),
        ("", ""),
        ("123", "123"),
    ],
)
def test_text_is_ordered_as_it_is_read(text: str, expected: str) -> None:
    """The expected ones are those of Unicode Standard Annex 9; A to F stand for themselves."""
    assert drawn(text) == expected


@given(st.text(alphabet="ab א ב ق 1 2 . - ( ٣ \u0301", max_size=12))
def test_every_character_is_drawn_once(text: str) -> None:
    assert sorted(drawn(text)) == sorted(text)


@given(st.text(alphabet=st.characters(max_codepoint=0x2FF), max_size=12))
def test_latin_text_is_a_single_run(text: str) -> None:
    assert visual_runs(text) == ([(text, False)] if text else [])
