"""A folder of models that one process fills and many read.

Versions never change; channels point at one of them and are switched in one step. See
docs/model-store.md.
"""
