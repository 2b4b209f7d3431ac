"""Errors of a model store."""

from __future__ import annotations


class StoreError(Exception):
    """Base of all errors of a store; the message is one line with the path and the reason."""


class BadReference(StoreError):
    """A reference or a name has an invalid form."""


class NotInStore(StoreError):
    """No such model, channel or version."""


class StoreDamaged(StoreError):
    """A record or a file of the store is unreadable or does not match its digest."""


class StoreBusy(StoreError):
    """Another process holds the store's lock."""


class StoreFull(StoreError):
    """The file system or the quota has no space for the files to be written."""
