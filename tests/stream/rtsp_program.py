"""An RTSP server by GStreamer, whose pictures say when they were taken.

Run by the system's Python, which has Debian's GStreamer: rtsp_program.py '{"port": 8554, ...}'; the
keys are the fields of `Camera` in rtsp_server.py. Its frames are grey: 32 bars of 16 pixels, white
for a bit that is set, are the milliseconds since 1970 modulo 2^32, the highest bit on the left.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

BARS = 32
BAR_PIXELS = 16
ENCODERS = {
    "h264": "openh264enc complexity=low gop-size={fps} ! h264parse ! rtph264pay name=pay0",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast key-int-max={fps} "
    "! h265parse ! rtph265pay name=pay0",
    "mjpeg": "jpegenc ! rtpjpegpay name=pay0",
}


def main(camera: dict[str, Any]) -> None:
    """Serve `/live` until the process is killed; prints a line when it listens."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(camera["port"]))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {launch(camera)} )")
    factory.set_shared(True)
    factory.connect("media-configure", partial(start_frames, camera=camera))
    if camera["user"]:
        require_login(server, factory, camera["user"], camera["password"], camera["method"])
    server.get_mount_points().add_factory("/live", factory)
    assert server.attach(None), "the port is taken"
    print("listening", flush=True)  # noqa: T201  # the test waits for it
    GLib.MainLoop().run()


def launch(camera: dict[str, Any]) -> str:
    """Return the pipeline, in the language of gst-launch; a camera with sound has a second one."""
    caps = (
        f"video/x-raw,format=GRAY8,width={camera['width']},height={camera['height']},"
        f"framerate={camera['fps']}/1"
    )
    video = (
        f"appsrc name=frames is-live=true do-timestamp=true format=time caps={caps} "
        # As a camera: if the encoder falls behind on a busy machine, it never sees some frames.
        "max-buffers=1 leaky-type=downstream "
        f"! videoconvert ! video/x-raw,format=I420 ! {ENCODERS[camera['codec']]} pt=96"
    ).format(fps=camera["fps"])
    sound = "audiotestsrc is-live=true ! alawenc ! rtppcmapay name=pay1 pt=97"
    return f"{video} {sound}" if camera["sound"] else video


def start_frames(_: object, media: Any, camera: dict[str, Any]) -> None:
    """Push a frame for each tick, until the pipeline takes no more."""
    source = media.get_element().get_child_by_name("frames")

    def push() -> bool:
        frame = Gst.Buffer.new_wrapped(draw(camera["width"], camera["height"]))
        return source.emit("push-buffer", frame) == Gst.FlowReturn.OK

    GLib.timeout_add(1000 // camera["fps"], push)


def draw(width: int, height: int) -> bytes:
    """Return a grey frame that shows the time."""
    now = int(time.time() * 1000)
    bits = (now >> (BARS - 1 - bar) & 1 for bar in range(BARS))
    row = b"".join((b"\xff" if bit else b"\x00") * BAR_PIXELS for bit in bits)
    return row.ljust(width, b"\x80") * height


def require_login(server: Any, factory: Any, user: str, password: str, method: str) -> None:
    """Require a user name and a password, by the method `basic` or `digest`."""
    permissions = GstRtspServer.RTSPPermissions()
    for allowed in ("media.factory.access", "media.factory.construct"):
        permissions.add_permission_for_role("viewer", allowed, True)
    factory.set_permissions(permissions)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth = GstRtspServer.RTSPAuth()
    if method == "digest":
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(user, password, token)
    else:
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
