"""The shell commands of a document, to be run as a reader would run them."""

from __future__ import annotations

import re
from pathlib import Path

from elastic_yolo.lab.processes.stack import ROOT

_FENCED = re.compile(r"(?ms)^```.*?^```$")
_COMMAND = re.compile(
    r"(\.venv(-ray)?/bin/\S+|elastic-yolo|mkdir|cp|for|timeout|cat|head|find|curl|kill|wait|sleep"
    r"|redis-server|redis-cli|mosquitto_sub|mosquitto) "
)
_SHARED = (".venv", ".venv-ray", "client", "models", "k8s")


def commands_of(page: str) -> list[str]:
    """Return the commands in the indented blocks of a page in docs/, in order.

    A line that ends in a backslash goes on in the next one. What is no command is output.
    """
    text = _FENCED.sub("", (ROOT / "docs" / page).read_text(encoding="utf-8"))
    lines = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    found: list[str] = []
    goes_on = False
    for line in lines:
        if goes_on:
            found[-1] += f"\n{line}"
        elif _COMMAND.match(line):
            found.append(line)
        else:
            continue
        goes_on = line.endswith("\\")
    return found


def make_room(folder: Path) -> Path:
    """Return a folder that looks like a checkout to the commands, and that they may write to."""
    for name in _SHARED:
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    return folder
