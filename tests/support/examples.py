"""The Python examples of the documents."""

from __future__ import annotations

import re

from elastic_yolo.lab.processes.stack import ROOT


def codes_of(page: str) -> list[str]:
    """Return the Python examples of a page in docs/."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)


def functions_of(code: str) -> dict[str, object]:
    """Run an example without its last statement, which prints; returns its names."""
    lines, _ = code.rsplit("\n\n", 1)
    names: dict[str, object] = {}
    exec(lines, names)  # noqa: S102  # an example of our own documents
    return names
