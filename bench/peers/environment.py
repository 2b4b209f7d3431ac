"""A peer's virtual environment, installed once from its locked requirements."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from bench.peers.registry import Peer
from elastic_yolo.digest import digest_of_file
from elastic_yolo.lab.processes.child import last_line


class NotInstalled(Exception):
    """A peer's environment could not be installed; the message has the installer's last line."""


def environment(peer: Peer, folder: Path) -> Path:
    """Return the interpreter of a peer's environment below `folder`; raises NotInstalled.

    An existing environment is reused until the requirements change.
    """
    home = folder / peer.name
    requirements = peer.folder / "requirements.txt"
    made_from = home / "made-from"
    digest = digest_of_file(requirements)
    python = home / "bin" / "python"
    if made_from.is_file() and made_from.read_text(encoding="ascii") == digest:
        return python
    for command in _commands(home, python, requirements):
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # ours
        if done.returncode:
            why = last_line(done.stderr)
            raise NotInstalled(f"{peer.name} could not be installed: {why}")
    made_from.write_text(digest, encoding="ascii")
    return python


def _commands(home: Path, python: Path, requirements: Path) -> list[list[str]]:
    hashed = ["--require-hashes", "--requirement", str(requirements)]
    uv = shutil.which("uv")
    if uv is not None:
        return [
            [uv, "venv", "--clear", "--python", sys.executable, str(home)],
            [uv, "pip", "install", "--python", str(python), *hashed],
        ]
    return [
        [sys.executable, "-m", "venv", "--clear", str(home)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *hashed],
    ]
