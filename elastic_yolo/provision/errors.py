"""Errors of provisioning one model; with `retryable`, a later attempt may succeed."""

from __future__ import annotations


class ProvisionError(Exception):
    """A model cannot be provisioned; the message is one line without credentials."""

    retryable = False


class SourceUnavailable(ProvisionError):
    """The source did not respond, or the transfer broke off."""

    retryable = True


class SourceUnreachable(SourceUnavailable):
    """There is no connection to the source's host."""


class SourceRefused(ProvisionError):
    """The source has no such file, or denies access."""


class WrongContent(ProvisionError):
    """The content has a wrong digest or is not a valid model."""


class NotPrepared(ProvisionError):
    """The artefacts that services need cannot be made."""


class ConfigError(ProvisionError):
    """models.yaml or an environment variable is invalid."""
