"""Versioned on-disk model store: one process writes it, many read it.

Versions are immutable; a channel points at one version and is switched atomically. See
docs/model-store.md.
"""
