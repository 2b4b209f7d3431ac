"""Text of any script, drawn with fonts of the package."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from elastic_yolo.picture.captions import draw_text

WORDS = {
    "Latin": "dog",
    "Latin with accents": "łódź",
    "Vietnamese": "chó điện",
    "Greek": "γάτα",
    "Cyrillic": "Кошка",
    "Armenian": "կատու",
    "Georgian": "კატა",
    "Hebrew": "חתול",
    "Arabic": "قطة",
    "Persian": "گربه",
    "Devanagari": "बिल्ली",
    "Bengali": "বিড়াল",
    "Gurmukhi": "ਬਿੱਲੀ",
    "Gujarati": "બિલાડી",
    "Oriya": "ବିଲେଇ",
    "Tamil": "பூனை",
    "Telugu": "పిల్లి",
    "Kannada": "ಬೆಕ್ಕು",
    "Malayalam": "പൂച്ച",
    "Sinhala": "පූසා",
    "Thai": "แมว",
    "Lao": "ແມວ",
    "Khmer": "ឆ្មា",
    "Burmese": "ကြောင်",
    "Tibetan": "ཞི་མི",
    "Amharic": "ድመት",
    "Chinese": "猫",
    "Traditional Chinese": "貓",
    "Hiragana": "ねこ",
    "Katakana": "ネコ",
    "Halfwidth katakana": "ﾈｺ",
    "Hangul": "고양이",
    "Cherokee": "ᏪᏌ",
    "Mongolian": "ᠮᠤᠤᠷ",
    "emoji": "🐈",
    "symbols": "→ ½ €",
}
UNKNOWN = "\U000f1234"


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool((one == other).all())


@pytest.mark.parametrize("script", WORDS)
@pytest.mark.parametrize("size", [11, 40])
def test_a_word_of_any_script_is_drawn_with_letters(script: str, size: int) -> None:
    """Each has ink, and none is the empty box or the sign for a character that no font has."""
    word = WORDS[script]

    mask = draw_text([word], size)

    assert (mask > 128).sum() > 10
    unknown = draw_text([UNKNOWN], size)
    for letter in set(word) - {" "}:
        assert not same(draw_text([letter], size), unknown)


def test_different_letters_look_different() -> None:
    """In a font without them, all would be the same box."""
    for script, word in WORDS.items():
        letters = {letter for letter in word if unicodedata.category(letter).startswith("L")}
        assert len({draw_text([letter], 24).tobytes() for letter in letters}) == len(letters), (
            script
        )


def test_a_character_that_no_font_has_is_a_replacement_character() -> None:
    assert same(draw_text([UNKNOWN], 20), draw_text(["\ufffd"], 20))


def test_arabic_letters_are_joined() -> None:
    """The two halves of a word, apart, are wider than the word: their final forms are longer."""
    word = draw_text(["بب"], 40)
    apart = draw_text(["ب\u200cب"], 40)

    assert word.shape[1] < apart.shape[1]


def test_a_vowel_sign_is_placed_in_front_of_its_consonant() -> None:
    """The Devanagari i is written behind its consonant and drawn in front of it."""
    drawn = draw_text(["कि"], 40)
    consonant = draw_text(["क"], 40)

    right_part = drawn[-consonant.shape[0] :, -consonant.shape[1] :]
    assert np.abs(right_part.astype(int) - consonant).mean() < 30


def test_a_score_is_drawn_to_the_right_of_a_hebrew_label() -> None:
    label = draw_text(["חתול"], 40)

    both = draw_text(["חתול", " 0.95"], 40)

    left_part = both[:, : label.shape[1]]
    assert same(left_part[left_part.any(axis=1)], label)


@pytest.mark.parametrize("text", ["e\u0301", "x\u0301", "ё\u0301"])
def test_an_accent_is_drawn_on_its_letter(text: str) -> None:
    """Also if it is a character of its own, and the font of the letter has none."""
    letter, accented = draw_text([text[0]], 40), draw_text([text], 40)

    assert accented.shape[0] > letter.shape[0]
    assert accented.shape[1] < 1.5 * letter.shape[1]


def test_small_letters_of_many_strokes_are_larger_than_latin_ones() -> None:
    latin, chinese = draw_text(["dog"], 11), draw_text(["貓"], 11)

    assert latin.shape[0] < 13 <= chinese.shape[0]


@pytest.mark.parametrize("text", ["", " ", "\u200b", "\ufe0f"])
def test_text_without_ink_is_an_empty_pixel(text: str) -> None:
    assert draw_text([text], 20).tolist() == [[0]]


def test_a_text_of_several_lines_is_drawn_as_one() -> None:
    assert same(draw_text(["a\nb"], 20), draw_text(["a b"], 20))


def test_a_very_long_text_is_cut() -> None:
    assert draw_text(["m" * 100_000], 11).shape[1] < 3000
