"""What this machine is good for."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    state: str
    name: str
    detail: str


def examine() -> Iterator[Line]:
    yield Line("ok", "x", "y")
