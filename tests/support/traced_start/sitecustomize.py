"""Records the project's functions that a process runs between SIGUSR1 and SIGUSR2.

Python imports this module at its start if its folder is in PYTHONPATH; the environment variable
TRACED_CALLS names the file for the record.
"""

# ruff: noqa: INP001  # Python's own name for a module outside of any package

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_RECORD = Path(os.environ["TRACED_CALLS"])
_PACKAGES = ("services.", "elastic_yolo.")
_calls: dict[CodeType, tuple[str, str]] = {}
_recording = False


def _note(frame: FrameType, event: str, _argument: Any) -> None:
    if not _recording or event != "call" or frame.f_code in _calls:
        return
    module = frame.f_globals.get("__name__", "")
    # Not what dataclasses generate: nobody reads it.
    if module.startswith(_PACKAGES) and frame.f_code.co_filename.endswith(".py"):
        _calls[frame.f_code] = module, frame.f_code.co_qualname


def _start(*_: object) -> None:
    global _recording  # noqa: PLW0603
    _calls.clear()
    _recording = True
    sys.setprofile(_note)
    _RECORD.with_suffix(".on").touch()


def _stop(*_: object) -> None:
    global _recording  # noqa: PLW0603
    _recording = False
    sys.setprofile(None)
    written = _RECORD.with_suffix(".part")
    written.write_text(json.dumps(list(_calls.values())))
    written.rename(_RECORD)


# Worker threads start with the first request; the main thread gets its hook from the signal.
threading.setprofile(_note)
signal.signal(signal.SIGUSR1, _start)
signal.signal(signal.SIGUSR2, _stop)
