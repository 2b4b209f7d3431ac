"""Mutate whole lines of a text, which mutating single bytes rarely does."""

from __future__ import annotations

import random

_NUMBERS = (
    b"0 1 -1 2 3 7 -2 -3 16 31 1000 65536 2147483647 -2147483648 4294967296 1e38 1e308 -0.5 nan "
    b"0,1 -1,-1 1,2,3,4,5,6 .5 , 1_0 99999999999999999999"
).split()


def change_lines(data: bytes, seed: int) -> bytes:
    """Return the text with one to three lines or runs of lines deleted, moved or changed."""
    chance = random.Random(seed)  # noqa: S311 - not for security
    lines = data.split(b"\n")
    for _ in range(chance.randint(1, 3)):
        start = chance.randrange(len(lines))
        end = start + chance.choice((1, 1, 2, 6))
        match chance.randrange(5):
            case 0:
                del lines[start:end]
            case 1:
                target = chance.randrange(len(lines))
                lines[target:target] = lines[start:end]
            case 2:
                target = chance.randrange(len(lines))
                lines[start], lines[target] = lines[target], lines[start]
            case _:
                lines[start] = _change_value(lines[start], chance)
        lines = lines or [b""]
    return b"\n".join(lines)


def _change_value(line: bytes, chance: random.Random) -> bytes:
    """Replace the value after = or :, or one entry of its list, by another number."""
    mark = b"=" if b"=" in line else b":"
    key, sign, value = line.partition(mark)
    parts = value.split(b",")
    if chance.random() < 0.5:
        parts = [b""]
    parts[chance.randrange(len(parts))] = chance.choice(_NUMBERS)
    return key + (sign or mark) + b",".join(parts)
