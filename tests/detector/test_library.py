"""The detector on its own: what docs/library.md shows, and without any web framework."""

from __future__ import annotations

import re
import subprocess
import sys

from tools.stack import ROOT

LINES = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "library.md").read_text(), re.DOTALL)


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_lines_of_the_documentation_print_what_is_in_the_picture() -> None:
    assert LINES
    ended = python(LINES[1])

    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.match(r"[a-z ]+ 0\.\d+ \([\d.]+, [\d.]+, [\d.]+, [\d.]+\)\n", ended.stdout)


def test_the_detector_imports_no_web_framework() -> None:
    ended = python(
        "import sys, detector.loading\n"
        "print([name for name in ('fastapi', 'starlette', 'httpx', 'uvicorn', 'services')"
        " if name in sys.modules])"
    )

    assert ended.stdout == "[]\n"
