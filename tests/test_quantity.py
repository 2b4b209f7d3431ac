"""Kubernetes quantities: every suffix, the exponent form, and what is refused."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.quantity import parse_milli, parse_quantity

SUFFIXES = {
    "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": 1, "k": 10**3,
    "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60,
}  # fmt: skip


@given(st.integers(0, 10**12), st.sampled_from(list(SUFFIXES)))
def test_every_suffix_multiplies_exactly(number: int, suffix: str) -> None:
    assert parse_quantity(f"{number}{suffix}") == number * SUFFIXES[suffix]


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e3", 1000), ("1E3", 1000), ("25e-2", Fraction(1, 4)), ("1E", 10**18), ("+2", 2), ("-1", -1),
     (".5", Fraction(1, 2)), ("5.", 5), (2, 2), (1.5, Fraction(3, 2))],
)  # fmt: skip
def test_exponents_signs_and_plain_numbers(text: object, value: Fraction) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    ("quantity", "milli"),
    [("1", 1000), (2, 2000), ("250m", 250), ("0.5", 500), ("100u", 1), ("1k", 10**6),
     ("1Ki", 1_024_000), (1.5, 1500), ("2e-1", 200)],
)  # fmt: skip
def test_thousandths_are_rounded_up(quantity: object, milli: int) -> None:
    assert parse_milli(quantity) == milli


@pytest.mark.parametrize(
    "text", ["", "m", "1 m", "1e", "nan", "inf", "many", "1ki", "1Kim", "\u0661", None, True, [1]]
)
def test_other_values_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="not a quantity such as 500m"):
        parse_quantity(text)


def test_a_negative_amount_is_refused_where_an_amount_is_needed() -> None:
    with pytest.raises(ValueError, match="'-1' is not a quantity of at least 0"):
        parse_milli("-1")
