"""Quantities as Kubernetes writes them: 250m, 1.5, 2Gi, 1e3.

Source: the Kubernetes API reference, "Quantity".
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

# "1E" is an exa, "1E3" a thousand: the exponent form comes first.
_FORM = re.compile(
    r"(?P<sign>[+-]?)(?P<number>\d{1,40}(\.\d{0,40})?|\.\d{1,40})"
    r"(?P<suffix>[eE][+-]?\d{1,2}|[numkMGTPE]|[KMGTPE]i)?",
    re.ASCII,
)
_DECIMAL = {"": 0, "n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def parse_quantity(value: object) -> Fraction:
    """Return the exact value; raises ValueError if it is not a quantity.

    YAML states quantities as text or as plain numbers: both are accepted.
    """
    plain = isinstance(value, str | int | float) and not isinstance(value, bool)
    parsed = _FORM.fullmatch(str(value)) if plain else None
    if parsed is None:
        raise ValueError(f"{str(value)!r} is not a quantity such as 500m, 1 or 2Gi")
    number = Fraction(parsed["number"].rstrip(".")) * (-1 if parsed["sign"] == "-" else 1)
    suffix = parsed["suffix"] or ""
    if suffix in _BINARY:
        return number * (1 << _BINARY[suffix])
    power = _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])
    return number * (Fraction(10) ** power)


def parse_milli(value: object) -> int:
    """Return a quantity of at least 0 in thousandths, rounded up; raises ValueError."""
    quantity = parse_quantity(value)
    if quantity < 0:
        raise ValueError(f"{str(value)!r} is not a quantity of at least 0")
    return math.ceil(quantity * 1000)
