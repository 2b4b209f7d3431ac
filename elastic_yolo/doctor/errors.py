"""Errors that prevent a diagnosis.

DoctorError
├── NothingToRead    a path does not exist, holds no manifests, or is ambiguous
└── KubectlFailed    kubectl is missing, or failed
"""

from __future__ import annotations


class DoctorError(Exception):
    """Base of all errors here; the message says what to do."""


class NothingToRead(DoctorError):
    """A path does not exist, holds no manifests, or holds several kustomizations."""


class KubectlFailed(DoctorError):
    """kubectl is missing, or failed; the message has the last line of its stderr."""
