"""What can be wrong with a store."""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot do what was asked; the message says where and why, in one line."""


class BadReference(StoreError):
    """What should name a model in a store does not."""


class NotInStore(StoreError):
    """No such model, channel or version."""


class StoreDamaged(StoreError):
    """Something in the store is not what was written."""


class StoreBusy(StoreError):
    """Another process is writing to the store."""


class StoreFull(StoreError):
    """There is no room for what is to be written."""
