"""The error of a command whose work failed, and how errors are described."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TRY_AGAIN = 75
"""Exit status, beside 0 and 1, of a failure that may be over later (sysexits.h: EX_TEMPFAIL)."""


class CommandFailed(Exception):
    """The work failed; the message is one line. The exit status is 1."""


def describe_error(error: Exception) -> str:
    """Return the message of an error; that of the operating system without its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def describe_failure(path: Path, error: Exception) -> str:
    """Return the message of an error, which begins with the file that it is about.

    Not for messages of a service: a file may have any name, also that of an error.
    """
    text = describe_error(error)
    return text if text.startswith(f"{path}: ") else f"{path}: {text}"


@contextmanager
def failing_on_provision_errors() -> Iterator[None]:
    """Raise errors of the provisioner and the store as CommandFailed.

    The command itself does not import these packages: an image has only what its role needs.
    """
    from elastic_yolo.provision.errors import ProvisionError  # noqa: PLC0415
    from elastic_yolo.store.errors import StoreError  # noqa: PLC0415

    try:
        yield
    except (ProvisionError, StoreError) as error:
        raise CommandFailed(str(error)) from error
