"""Tests of video files as sources."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from elastic_yolo.detector.boxes import Pixels
from elastic_yolo.detector.inputs import Frame
from elastic_yolo.stream.cameras.video_file import VideoSource
from elastic_yolo.stream.errors import BadAddress
from elastic_yolo.stream.message import Message
from tests.stream.videos import HEIGHT, WIDTH, read_number, turn_video, write_video

STEADY = [number / 30 for number in range(60)]
UNEVEN = [0, 0.04, 0.5, 0.51, 0.52, 1.7, 2.0, 2.033, 2.066, 4]


def read_all(source: VideoSource) -> list[Message]:
    messages = []
    while not source.finished:
        messages += source.receive(8, 1)
    source.close()
    return messages


def pixels(message: Message) -> Pixels:
    assert isinstance(message.picture, Frame)
    assert not message.picture.is_bgr
    return message.picture.pixels


def numbers(messages: list[Message]) -> list[int]:
    return [read_number(pixels(message)) for message in messages]


@pytest.mark.parametrize("name", ["yard.mp4", "yard.mkv", "yard.ts", "yard.avi", "yard.mov"])
def test_every_frame_is_delivered_once_and_in_order(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, STEADY)
    messages = read_all(VideoSource(str(path)))
    assert numbers(messages) == list(range(60))
    assert [message.id for message in messages] == [f"{name}#{number}" for number in range(60)]


def test_a_second_run_gives_the_same_messages(tmp_path: Path) -> None:
    path = str(write_video(tmp_path / "yard.mp4", UNEVEN))
    first, second = (read_all(VideoSource(path)) for _ in range(2))
    assert [(one.source, one.id, one.added_at) for one in first] == [
        (one.source, one.id, one.added_at) for one in second
    ]


def test_a_frame_rate_chooses_frames_by_their_timestamps(tmp_path: Path) -> None:
    steady = write_video(tmp_path / "steady.mp4", STEADY)
    assert numbers(read_all(VideoSource(str(steady), fps=10))) == list(range(0, 60, 3))
    uneven = write_video(tmp_path / "uneven.mp4", UNEVEN)
    # Two in a second: the first frame at or after 0, 0.5, 1.5, 2 and 4 s.
    assert numbers(read_all(VideoSource(str(uneven), fps=2))) == [0, 2, 5, 6, 9]


def test_a_frame_rate_above_the_video_s_delivers_every_frame_once(tmp_path: Path) -> None:
    path = write_video(tmp_path / "yard.mp4", UNEVEN)
    assert numbers(read_all(VideoSource(str(path), fps=1000))) == list(range(10))


def test_frames_were_taken_when_the_file_says_that_it_was_recorded(tmp_path: Path) -> None:
    path = write_video(tmp_path / "yard.mp4", UNEVEN, began="2026-03-01T12:00:00.000000Z")
    times = [message.added_at - 1772366400 for message in read_all(VideoSource(str(path)))]
    assert times == pytest.approx(UNEVEN, abs=0.002)


@pytest.mark.parametrize("began", [None, "1904-01-01T00:00:00.000000Z"])
def test_a_file_that_does_not_say_so_was_recorded_until_it_was_modified(
    tmp_path: Path, began: str | None
) -> None:
    path = write_video(tmp_path / "yard.mp4", STEADY, began=began)
    os.utime(path, (1772366400, 1772366400))
    times = [message.added_at - 1772366400 for message in read_all(VideoSource(str(path)))]
    assert times[0] == pytest.approx(-2, abs=0.2)
    assert times[-1] == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_video_of_a_phone_is_turned_upright(tmp_path: Path, degrees: int) -> None:
    path = write_video(tmp_path / "phone.mp4", STEADY[:3])
    turn_video(path, degrees)
    found = pixels(read_all(VideoSource(str(path)))[0])
    assert found.shape == ((WIDTH, HEIGHT, 3) if degrees != 180 else (HEIGHT, WIDTH, 3))
    # OpenCV turns frames as well.
    video = cv2.VideoCapture(str(path))
    expected = video.read()[1][:, :, ::-1]
    video.release()
    assert np.abs(found.astype(int) - expected).mean() < 5


def test_what_is_whole_of_a_truncated_file_is_delivered_and_a_warning_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_video(tmp_path / "yard.mkv", [number / 30 for number in range(300)])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    found = numbers(read_all(VideoSource(str(path))))
    assert 50 < len(found) < 250
    # The last frames before the cut may lack one that they refer to.
    assert found[:50] == list(range(50))
    assert found == sorted(set(found))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_damage_in_the_middle_does_not_end_the_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "yard.ts", STEADY, key_every=10)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1000] = bytes(1000)
    path.write_bytes(content)
    found = read_all(VideoSource(str(path)))
    assert numbers(found)[:10] == list(range(10))
    assert numbers(found)[-10:] == list(range(50, 60))
    assert len({message.id for message in found}) == len(found)


@pytest.mark.parametrize("content", [b"", b"no video" * 1000])
def test_a_file_that_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.mp4"
    path.write_bytes(content)
    with pytest.raises(BadAddress, match="expected a video file"):
        VideoSource(str(path))


def test_a_file_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadAddress, match="No such file"):
        VideoSource(str(tmp_path / "none.mp4"))


def test_a_source_can_be_closed_in_the_middle(tmp_path: Path) -> None:
    source = VideoSource(str(write_video(tmp_path / "yard.mp4", STEADY)))
    source.receive(1, 1)
    source.close()
    assert source.receive(1, 1) == []
    assert source.finished
