"""A camera for tests: a real RTSP server in a process of its own, whose frames show the time."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from elastic_yolo.detector.boxes import Pixels
from elastic_yolo.lab.processes.stack import free_port

PYTHON = Path("/usr/bin/python3")
_PROGRAM = Path(__file__).with_name("rtsp_program.py")
_BARS, _BAR_PIXELS = 32, 16


def _gstreamer_is_installed() -> bool:
    check = "import gi; gi.require_version('GstRtspServer', '1.0')"
    return (
        PYTHON.exists()
        and not subprocess.run([PYTHON, "-c", check], check=False, capture_output=True).returncode
    )


needs_rtsp = pytest.mark.skipif(
    not _gstreamer_is_installed(), reason="needs GStreamer's RTSP server: make cameras"
)


@dataclass
class Camera:
    """A context manager; `width` is at least 512."""

    codec: str = "h264"
    width: int = 640
    height: int = 360
    fps: int = 30
    sound: bool = False
    user: str = ""
    password: str = ""
    method: str = "basic"
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        """Begin switched off."""
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Its address, without user name and password."""
        return f"rtsp://127.0.0.1:{self.port}/live"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self, **changes: Any) -> None:
        """Switch it on, perhaps with other settings, and return when it listens."""
        for name, value in changes.items():
            setattr(self, name, value)
        self._process = subprocess.Popen(
            [PYTHON, _PROGRAM, json.dumps(asdict(self))], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        assert self._process.stdout.readline() == "listening\n"

    def kill(self) -> None:
        """Switch it off, as pulling the plug does."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def signal(self, number: int) -> None:
        """Send the server a signal: SIGSTOP and SIGCONT have it hang, and go on."""
        assert self._process
        self._process.send_signal(number)


def shown_age_s(pixels: Pixels) -> float:
    """Return how long ago a frame was drawn, by what it shows."""
    bars = pixels[len(pixels) // 2, _BAR_PIXELS // 2 : _BARS * _BAR_PIXELS : _BAR_PIXELS, 0]
    shown = int("".join("1" if bar > 127 else "0" for bar in bars), 2)
    return float((int(time.time() * 1000) - shown) % 2**_BARS) / 1000


def draw_time(width: int, height: int) -> Pixels:
    """Return a frame that shows the time, (height, width, 3) uint8."""
    now = int(time.time() * 1000)
    row = np.full(width, 128, np.uint8)
    for bar in range(_BARS):
        bit = now >> (_BARS - 1 - bar) & 1
        row[bar * _BAR_PIXELS : (bar + 1) * _BAR_PIXELS] = 255 * bit
    return np.repeat(np.tile(row, (height, 1))[:, :, np.newaxis], 3, axis=2)
