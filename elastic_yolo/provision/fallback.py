"""Several sources of one file: try them in order until one delivers it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

from elastic_yolo.provision.errors import (
    ProvisionError,
    SourceRefused,
    SourceUnavailable,
    SourceUnreachable,
    WrongContent,
)
from elastic_yolo.provision.sources import redacted

T = TypeVar("T")

Fetch = Callable[[str, bool], T]
"""Fetches from an address; the second argument says whether another source follows."""


def fetch_first(
    name: str, addresses: Sequence[str], fetch: Fetch[T], report: Callable[[str], None]
) -> T:
    """Return what `fetch` returns for the first address that delivers the file `name`.

    Every ProvisionError leads to the next address and is passed to `report` as one line. Raises
    the error of the last address; after several, an error that is retryable if one of them was,
    and SourceUnreachable if all of them were.
    """
    errors: list[ProvisionError] = []
    for address, following in pairwise([*addresses, None]):
        assert address is not None  # noqa: S101  # None ends the pairs only
        try:
            return fetch(address, following is not None)
        except ProvisionError as error:
            errors.append(error)
            if following is not None:
                report(f"{error}: trying {redacted(following)}")
    raise _summary(name, errors) from errors[-1]


def _summary(name: str, errors: Sequence[ProvisionError]) -> ProvisionError:
    last = errors[-1]
    if len(errors) == 1:
        return last
    if all(isinstance(error, SourceUnreachable) for error in errors):
        return SourceUnreachable(
            f"{name}: none of its {len(errors)} sources can be reached, the first one: {errors[0]}"
        )
    message = f"{name}: none of its {len(errors)} sources delivered it, the last one: {last}"
    if any(error.retryable for error in errors):
        return SourceUnavailable(message)
    wrong = all(isinstance(error, WrongContent) for error in errors)
    return WrongContent(message) if wrong else SourceRefused(message)
