"""Run programs in their own namespaces, with private mounts."""

from __future__ import annotations

import functools
import subprocess

import pytest

_COMMANDS = (["unshare", "--user", "--map-root-user", "--mount"], ["unshare", "--mount"])


def find_unshare(otherwise: str) -> list[str]:
    """Return the command prefix for such a program; skips the test if namespaces are forbidden.

    `otherwise` says what cannot be tested then.
    """
    command = _permitted()
    if command is None:
        pytest.skip(f"{otherwise}: unshare is not permitted")
    return command


@functools.cache
def _permitted() -> list[str] | None:
    for command in _COMMANDS:
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    return None
