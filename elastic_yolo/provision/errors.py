"""What can go wrong with one model, and whether trying again may help."""

from __future__ import annotations


class ProvisionError(Exception):
    """A model cannot be provisioned; the message says why, in one line, without credentials."""

    retryable = False


class SourceUnavailable(ProvisionError):
    """The source did not answer, or stopped in the middle: later it may."""

    retryable = True


class SourceRefused(ProvisionError):
    """The source has no such file, or does not give it to us."""


class WrongContent(ProvisionError):
    """What came is not what was announced or asked for."""


class NotPrepared(ProvisionError):
    """What services would need of a model cannot be made."""


class ConfigError(ProvisionError):
    """models.yaml says something that cannot be done."""
