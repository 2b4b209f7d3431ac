"""The authors' trained models, which are too large for the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def real_model(name: str) -> Path:
    """Return the folder of a trained model, or skip the test.

    The environment variable REAL_MODELS names the folder that has one folder for each model.
    """
    folder = os.environ.get("REAL_MODELS")
    if not folder:
        pytest.skip(f"REAL_MODELS is not set: no trained {name}; this test compares NOTHING")
    if not (path := Path(folder, name)).is_dir():
        pytest.skip(f"REAL_MODELS: no folder {path}: no trained {name}; this test compares NOTHING")
    return path
