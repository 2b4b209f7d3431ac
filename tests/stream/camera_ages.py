"""Print for each frame of a camera how old it is by what it shows, and by what its message says."""

from __future__ import annotations

import sys
import time

from elastic_yolo.detector.inputs import Frame
from elastic_yolo.stream.cameras.camera import CameraSource
from tests.stream.rtsp_server import shown_age_s

if __name__ == "__main__":
    source = CameraSource(sys.argv[1])
    while True:
        for message in source.receive(1, 1):
            assert isinstance(message.picture, Frame)
            said_s = time.time() - message.added_at
            print(shown_age_s(message.picture.pixels), said_s, flush=True)  # noqa: T201  # the test reads it
