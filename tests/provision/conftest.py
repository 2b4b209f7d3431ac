"""Fixtures of all tests of the provisioner."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_KINDS = ("AWS_", "HF_", "MLFLOW_", "OCI_", "DOCKER_", "GOOGLE_")


@pytest.fixture(autouse=True)
def _without_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove the developer's own credentials from the environment."""
    for name in [name for name in os.environ if name.startswith(_KINDS)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    # botocore would request credentials from the metadata service, which is not on loopback.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
