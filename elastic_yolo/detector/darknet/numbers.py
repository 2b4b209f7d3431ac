"""Numbers as C's atoi() and atof() read them, with which Darknet reads every option.

Both skip white space, read as far as they can, and ignore the rest, such as a comment behind the
number. Of a text that does not begin with a number they make 0; here that is an error.
Source: ISO C, 7.22.1 (`strtod`, `strtol`).
"""

from __future__ import annotations

import re

# `re.ASCII`: C reads no digits of other scripts.
_WHOLE = re.compile(r"[ \t-\r]*([+-]?[0-9]+)", re.ASCII)
_FLOAT = re.compile(
    r"[ \t-\r]*([+-]?(?:"
    r"(0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)(?:[pP][+-]?[0-9]+)?)"
    r"|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?))",
    re.ASCII,
)
# Python takes quadratic time for millions of digits.
_MOST_DIGITS = 40
# Darknet stores options as 32-bit int and float.
_INT_END = 2**31
_LARGEST_FLOAT = 3.4028234663852886e38


def read_whole(text: str) -> tuple[int, str]:
    """Return the whole number at the beginning of a text, as atoi() does, and the ignored rest.

    Raises ValueError if no number is there, or one that 32 bits do not hold.
    """
    found = _WHOLE.match(text)
    if found is None or len(found[1]) > _MOST_DIGITS:
        raise ValueError(text)
    value = int(found[1])
    if not -_INT_END <= value < _INT_END:
        raise ValueError(text)
    return value, text[found.end() :]


def read_number(text: str) -> tuple[float, str]:
    """Return the number at the beginning of a text, as atof() does, and the ignored rest.

    Raises ValueError if no number is there, or one that float32 does not hold: also for inf and
    nan, which atof() reads.
    """
    found = _FLOAT.match(text)
    if found is None or len(found[1]) > _MOST_DIGITS:
        raise ValueError(text)
    try:
        value = float.fromhex(found[1]) if found[2] else float(found[1])
    except OverflowError as reason:
        raise ValueError(text) from reason
    if abs(value) > _LARGEST_FLOAT:
        raise ValueError(text)
    return value, text[found.end() :]
