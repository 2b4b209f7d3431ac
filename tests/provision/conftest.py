"""What every test of the provisioner starts from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_KINDS = ("AWS_", "HF_", "MLFLOW_", "OCI_", "DOCKER_", "GOOGLE_")


@pytest.fixture(autouse=True)
def _nobody_is_signed_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take away whatever whoever runs the tests has in the environment."""
    for name in [name for name in os.environ if name.startswith(_KINDS)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    # That would be asked for credentials, and is no part of loopback.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
