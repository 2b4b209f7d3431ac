"""Tests of cameras as sources, with a real RTSP server and a real HTTP server."""

from __future__ import annotations

import itertools
import logging
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import simplejpeg

from elastic_yolo.detector.boxes import Pixels
from elastic_yolo.detector.inputs import Frame
from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.stream.cameras.camera import CameraSource
from elastic_yolo.stream.errors import BadAddress, Refused
from elastic_yolo.stream.message import Message
from tests.stream.mjpeg_server import MjpegCamera
from tests.stream.rtsp_server import Camera, needs_rtsp, shown_age_s
from tests.stream.tls_front import make_certificate, tls_front
from tests.support.waiting import wait_until

PATIENCE_S = 60.0
PASSWORD = "p/w:d#1"  # noqa: S105


@contextmanager
def watching(address: str, fps: float | None = None, stall_s: float = 10) -> Iterator[CameraSource]:
    source = CameraSource(address, fps, stall_s=stall_s)
    try:
        yield source
    finally:
        source.close()


def receive(source: CameraSource) -> Message:
    """Return the next frame."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if messages := source.receive(8, 1):
            (message,) = messages
            return message
    raise AssertionError("no frame came")


def pixels(message: Message) -> Pixels:
    if isinstance(message.picture, bytes):
        return simplejpeg.decode_jpeg(message.picture)
    assert not message.picture.is_bgr
    return message.picture.pixels


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@needs_rtsp
@pytest.mark.parametrize("codec", ["h264", "h265", "mjpeg"])
@pytest.mark.parametrize("fps", [pytest.param(4, marks=pytest.mark.long), 30])
def test_a_frame_says_when_it_was_taken(codec: str, fps: int) -> None:
    with Camera(codec, fps=fps) as camera, watching(camera.url) as source:

        def difference_s() -> float:
            message = receive(source)
            age_s = time.time() - message.added_at
            return shown_age_s(pixels(message)) - age_s

        # The server draws, compresses and sends between the two; on a busy machine it falls behind,
        # and catches up. Half of a frame's time at 4 frames a second; a source that forgets the
        # frame which the parser holds is wrong by twice that in every frame.
        wait_until(
            lambda: abs(statistics.median(difference_s() for _ in range(8))) < 0.125,
            "the age that a frame shows is the one that its message says",
            PATIENCE_S,
        )


@needs_rtsp
@pytest.mark.long
def test_a_slow_consumer_gets_the_newest_frame_and_the_others_count_as_dropped() -> None:
    with Camera(fps=30) as camera, watching(camera.url) as source:
        receive(source)
        began = time.monotonic()
        ages = []
        for number in itertools.count(1):
            message = receive(source)
            ages.append(shown_age_s(pixels(message)))
            # As a model that takes 8 pictures a second.
            time.sleep(max(0.0, began + number / 8 - time.monotonic()))
            if number == 32:
                break
        passed_s = time.monotonic() - began
    dropped = source.dropped
    # In a queue, the last frame would be as old as the frames that are not delivered take.
    queued_s = passed_s * dropped / (dropped + len(ages))
    assert dropped > len(ages)
    assert statistics.median(ages) < 0.5
    assert max(ages[-8:]) < queued_s / 2


def test_the_scheme_of_an_address_may_be_in_capitals() -> None:
    camera = MjpegCamera()
    with camera.on(), watching(camera.url.replace("http:", "HTTP:")) as source:
        assert receive(source).source == camera.url


@needs_rtsp
@pytest.mark.parametrize("changes", [{}, {"codec": "h265", "width": 512, "height": 288}])
def test_frames_go_on_after_a_camera_restarts_perhaps_with_other_settings(
    changes: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    with Camera() as camera, watching(camera.url) as source:
        ids = [receive(source).id]
        assert source.connected
        camera.kill()
        wait_until(lambda: not source.connected, "the camera is missed")
        camera.start(**changes)
        # What was received before the cut may still be there.
        wait_until(lambda: source.connected, "the camera is back", PATIENCE_S)
        messages = [receive(source) for _ in range(3)]
        ids += [message.id for message in messages]
        assert pixels(messages[-1]).shape == (camera.height, camera.width, 3)
    assert [int(one) for one in ids] == sorted({int(one) for one in ids})
    assert len(warnings(caplog)) == 1


@needs_rtsp
@pytest.mark.long
def test_frames_go_on_after_a_camera_was_off_for_five_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Camera() as camera, watching(camera.url) as source:
        receive(source)
        camera.kill()
        until = time.monotonic() + 5
        while time.monotonic() < until:
            source.receive(1, 0.1)
        assert not source.connected
        # Several attempts failed; one line says so.
        assert len(warnings(caplog)) == 1
        camera.start()
        assert receive(source).added_at > time.time() - PATIENCE_S
        assert source.connected


@needs_rtsp
@pytest.mark.long
def test_a_camera_that_hangs_counts_as_lost_and_is_connected_to_again() -> None:
    with Camera() as camera, watching(camera.url, stall_s=1) as source:
        receive(source)
        camera.signal(signal.SIGSTOP)
        wait_until(lambda: not source.connected, "the camera is missed")
        camera.signal(signal.SIGCONT)
        wait_until(lambda: source.connected, "the camera is back", PATIENCE_S)
        receive(source)


@needs_rtsp
def test_two_cameras_are_read_at_once() -> None:
    with (
        Camera() as one,
        Camera("mjpeg") as other,
        watching(one.url) as first,
        watching(other.url) as second,
    ):
        for _ in range(3):
            assert receive(first).source == one.url
            assert receive(second).source == other.url


@needs_rtsp
@pytest.mark.parametrize("method", ["basic", "digest"])
def test_user_name_and_password_are_in_the_address_and_nowhere_else(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with Camera(user="ad@min", password=PASSWORD, method=method) as camera:
        address = camera.url.replace("//", "//ad%40min:p%2Fw%3Ad%231@")
        with watching(address) as source:
            assert receive(source).source == source.name == camera.url
            camera.kill()
            wait_until(lambda: not source.connected, "the camera is missed")
    assert "p%2Fw" not in caplog.text
    assert "ad%40min" not in caplog.text


@needs_rtsp
def test_a_wrong_password_is_refused_for_good() -> None:
    with (
        Camera(user="admin", password=PASSWORD) as camera,
        watching(camera.url.replace("//", "//admin:wrong@")) as source,
    ):
        for _ in range(2):
            with pytest.raises(Refused, match=r"^rtsp://127\.0\.0\.1:\d+/live: .*401") as raised:
                source.receive(1, PATIENCE_S)
    assert "wrong" not in str(raised.value)


@needs_rtsp
def test_a_camera_whose_password_was_changed_does_not_stop_the_others() -> None:
    with Camera() as camera, watching(camera.url) as source:
        receive(source)
        camera.kill()
        camera.start(user="admin", password=PASSWORD)
        wait_until(lambda: not source.connected, "the camera is missed")
        # One frame may have come before that.
        source.receive(1, 0)
        assert source.receive(1, 2) == []


@needs_rtsp
@pytest.mark.long
def test_a_camera_that_encrypts_is_checked_if_its_certificate_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    for folder in (own, other):
        folder.mkdir()
    key, certificate = make_certificate(own)
    _, unknown = make_certificate(other)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with Camera() as camera, tls_front(camera.port, key, certificate) as port:
        address = f"rtsps://127.0.0.1:{port}/live"
        with watching(address) as source:
            receive(source)
        assert "nothing checks that this is the camera" in caplog.text
        caplog.clear()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with watching(address) as source:
            receive(source)
        assert not warnings(caplog)
        monkeypatch.setenv("SSL_CERT_FILE", str(unknown))
        with watching(address) as source:
            wait_until(lambda: bool(warnings(caplog)), "the camera is not accepted", PATIENCE_S)
            assert source.receive(1, 0) == []
    assert "certificate" in caplog.text


@needs_rtsp
def test_a_frame_rate_cap_offers_fewer_frames_and_the_others_do_not_count_as_dropped() -> None:
    with Camera("mjpeg", fps=30) as camera, watching(camera.url, fps=5) as source:
        times = [receive(source).added_at for _ in range(12)]
    between_s = (times[-1] - times[0]) / (len(times) - 1)
    # A frame may be taken a quarter of the time early, but not every one.
    assert between_s > 0.9 / 5
    # The cap itself drops five of six; a busy machine may miss one.
    assert source.dropped <= len(times)


@needs_rtsp
def test_a_camera_with_sound_sends_frames() -> None:
    with Camera(sound=True) as camera, watching(camera.url) as source:
        assert isinstance(receive(source).picture, Frame)


@needs_rtsp
@pytest.mark.long
def test_after_a_pause_of_the_process_frames_are_not_older_than_they_say() -> None:
    with Camera() as camera:
        command = [sys.executable, "-m", "tests.stream.camera_ages", camera.url]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as reader:
            assert reader.stdout
            ages = ([float(age) for age in line.split()] for line in reader.stdout)
            list(itertools.islice(ages, 10))
            reader.send_signal(signal.SIGSTOP)
            paused_until = time.monotonic() + 2
            while time.monotonic() < paused_until:
                assert reader.poll() is None
            reader.send_signal(signal.SIGCONT)
            late = list(itertools.islice(ages, 8))
            assert any(shown_s < 0.5 for shown_s, _ in itertools.islice(ages, 1000))
            reader.kill()
    assert statistics.median(shown_s - said_s for shown_s, said_s in late) < 0.25


@pytest.mark.parametrize("states_length", [True, False])
def test_jpeg_files_over_http_are_passed_on_as_they_are(states_length: bool) -> None:
    camera = MjpegCamera(states_length=states_length)
    with camera.on(), watching(camera.url) as source:
        messages = [receive(source) for _ in range(5)]
    for message in messages:
        assert isinstance(message.picture, bytes)
        assert pixels(message).shape == (360, 640, 3)


def test_an_http_camera_is_connected_to_again() -> None:
    camera = MjpegCamera()
    with watching(camera.url) as source:
        with camera.on():
            receive(source)
        wait_until(lambda: not source.connected, "the camera is missed")
        assert not source.finished
        with camera.on():
            wait_until(lambda: source.connected, "the camera is back", PATIENCE_S)
            receive(source)


def test_an_http_camera_may_require_a_login() -> None:
    camera = MjpegCamera(needs_login=True)
    with camera.on():
        with watching(camera.url.replace("//", "//viewer:p%2Fw@")) as source:
            assert receive(source).source == camera.url
        with watching(camera.url) as source, pytest.raises(Refused, match="401"):
            source.receive(1, PATIENCE_S)


def test_truncated_jpeg_files_are_left_out() -> None:
    camera = MjpegCamera(truncates=True)
    with camera.on(), watching(camera.url) as source:
        for _ in range(4):
            assert pixels(receive(source)).shape == (360, 640, 3)


@contextmanager
def listening(respond: Callable[[socket.socket], object]) -> Iterator[str]:
    """Accept connections and do with each what a test says; yields host and port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=respond, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_source_closes_at_once_while_a_camera_does_not_respond(scheme: str) -> None:
    opened: list[socket.socket] = []
    with listening(opened.append) as place:
        source = CameraSource(f"{scheme}://{place}/live", stall_s=3600)
        wait_until(lambda: bool(opened), "the source connects")
        assert source.receive(1, 0) == []
        began = time.monotonic()
        source.close()
        # Of the hour that it would wait otherwise.
        assert time.monotonic() - began < 60
        for connection in opened:
            connection.close()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("rtsp://user:secret@127.0.0.1:1/live", "Connection refused"),
        ("http://user:secret@camera.invalid/", "camera.invalid cannot be resolved"),
    ],
)
def test_a_camera_that_is_not_there_is_waited_for_and_logged_once(
    address: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with watching(address) as source:
        wait_until(lambda: bool(warnings(caplog)), "the camera is missed", PATIENCE_S)
        assert source.receive(1, 2.5) == []
    (line,) = warnings(caplog)
    assert reason in line
    assert "secret" not in line


def test_a_web_page_is_no_camera(caplog: pytest.LogCaptureFixture) -> None:
    page = b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + b"<p>hello</p>" * 1000

    def send(connection: socket.socket) -> None:
        with connection:
            connection.recv(2**16)
            connection.sendall(page)

    with listening(send) as place, watching(f"http://{place}/") as source:
        wait_until(lambda: bool(warnings(caplog)), "the page is refused", PATIENCE_S)
        assert source.receive(1, 0) == []


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("rtsp://u:p@h:554/live?channel=1&subtype=0", "rtsp://h:554/live?channel=1&subtype=0"),
        ("http://u:p@h/v?user=u&Password=p&c=1#x", "http://h/v?user=***&Password=***&c=1"),
        (
            "rtsp://h/user=admin_password=a1_channel=1_stream=0.sdp",
            "rtsp://h/user=***_password=***_channel=1_stream=0.sdp",
        ),
    ],
)
def test_the_name_of_a_camera_has_no_credentials(address: str, name: str) -> None:
    with watching(address) as source:
        assert source.name == name


@pytest.mark.parametrize(
    "address",
    [
        "rtsp:///live",
        "ftp://camera/live",
        "rtsp://camera:port/live",
        "rtsp://user:secret/1@camera/live",
        "rtsp://user:1/secret@camera/live",
        "rtsp://user:secret?1@camera/live",
        "rtsp://[::1/secret",
    ],
)
def test_an_address_that_is_none_is_refused_without_a_part_of_the_password(address: str) -> None:
    with pytest.raises(BadAddress, match="expected rtsp://") as raised:
        CameraSource(address)
    assert "secret" not in str(raised.value)
