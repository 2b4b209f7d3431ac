"""What keeps the doctor from looking at all.

DoctorError
├── NothingToRead    what was named is not there, or cannot be looked at as it is
└── KubectlFailed    kubectl is missing, or does not do what it was asked
"""

from __future__ import annotations


class DoctorError(Exception):
    """The message says what to do."""


class NothingToRead(DoctorError):
    """A path that does not exist, or a folder with nothing in it."""


class KubectlFailed(DoctorError):
    """kubectl is missing, or failed; the message has its last line."""
