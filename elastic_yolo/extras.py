"""The error for a missing package, which names the extra that installs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_OWN = "elastic_yolo"


class MissingPackage(ImportError):
    """A package is missing that an extra of elastic-yolo installs; the message is one line."""


@contextmanager
def naming_extra(what: str, extra: str) -> Iterator[None]:
    """Turn the ModuleNotFoundError of a dependency into MissingPackage.

    `what` is what needs the package, for the message; `extra` is the extra that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"{what} needs {error.name}, which is not installed here"
        # An image has only the folders that its role needs; no extra installs those.
        if not str(error.name).startswith(f"{_OWN}."):
            message += f": install 'elastic-yolo[{extra}]'"
        raise MissingPackage(message, name=error.name) from None
