"""A camera for lab 12: MJPEG over HTTP, 200 frames per second of a window that moves over a scene.

python docs/labs/12-camera.py [PORT]
"""

from __future__ import annotations

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle

import cv2

_FRAMES_PER_SECOND = 200
_WINDOW = 416
_STEP = 8


def read_frames() -> list[bytes]:
    """Return JPEG files of the window on its way from left to right."""
    scene = cv2.imread("client/images/scene-01.jpg")
    if scene is None:
        sys.exit("start it in the checkout: client/images/scene-01.jpg is not here")
    places = range(0, scene.shape[1] - _WINDOW, _STEP)
    return [cv2.imencode(".jpg", scene[:_WINDOW, x : x + _WINDOW])[1].tobytes() for x in places]


FRAMES: list[bytes] = []


class Camera(BaseHTTPRequestHandler):
    """Sends frames until the viewer leaves."""

    def do_GET(self) -> None:
        """Send each frame at its time."""
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        began = time.monotonic()
        try:
            for number, frame in enumerate(cycle(FRAMES)):
                head = (
                    f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(frame)}\r\n\r\n"
                )
                self.wfile.write(head.encode() + frame + b"\r\n")
                due = began + (number + 1) / _FRAMES_PER_SECOND
                time.sleep(max(0.0, due - time.monotonic()))
        except ConnectionError:
            return

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8554
    FRAMES += read_frames()
    print(f"camera: http://127.0.0.1:{port}/", flush=True)  # noqa: T201
    ThreadingHTTPServer(("127.0.0.1", port), Camera).serve_forever()
