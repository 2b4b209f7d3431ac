"""Run the provisioner and check that secrets appear nowhere."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

from tests.support.command import run


def provision(store: Path, config: Path, *secrets: str) -> tuple[int, str]:
    """Run the command; returns its exit code and output, after checking for secrets."""
    status, out, err = run("provision", "--store", store, "--config", config, "--json")
    texts = [out.encode(), err.encode()]
    for path in store.rglob("*"):
        texts.append(str(path).encode())
        if path.is_file():
            texts.append(path.read_bytes())
    for secret in secrets:
        for shape in (secret.encode(), b64encode(secret.encode())):
            assert not any(shape in text for text in texts)
    return status, out + err
