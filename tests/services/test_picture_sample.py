"""The sample of received pictures: distinct, spread over time, and bounded."""

from __future__ import annotations

import numpy as np
import pytest

from elastic_yolo.detector.boxes import Image
from services.inference.versions import picture_sample
from services.inference.versions.picture_sample import MAX_BYTES, MAX_PICTURES, PictureSample

FOUND = [np.array([[1, 1, 9, 9, 0.9, 0]], np.float32)]
NOTHING = [np.empty((0, 6), np.float32)]


def picture(value: int, size: int = 8) -> Image:
    image = np.zeros((1, size, size, 3), np.uint8)
    image.reshape(-1)[:2] = divmod(value, 256)
    return image


def sample() -> PictureSample:
    return PictureSample(0.5, interval_s=0.0)


def test_each_picture_is_kept_once() -> None:
    kept = sample()
    for value in (1, 2, 1, 2, 3):
        kept.offer(picture(value), FOUND)

    assert [image[0, 0, 1] for image in kept.images] == [1, 2, 3]


def test_only_pictures_with_an_object_above_the_threshold_are_kept() -> None:
    kept = sample()
    kept.offer(picture(1), NOTHING)
    kept.offer(picture(2), [np.array([[1, 1, 9, 9, 0.4, 0]], np.float32)])
    kept.offer(picture(3).astype(np.float32), FOUND)

    assert len(kept) == 0


def test_a_kept_picture_is_a_copy() -> None:
    """A request's picture is a view of its body, whose memory is freed."""
    kept, image = sample(), picture(7)
    kept.offer(image, FOUND)
    image[:] = 0

    assert kept.images[0][0, 0, 1] == 7


def test_the_number_of_pictures_is_bounded() -> None:
    kept = sample()
    for value in range(3 * MAX_PICTURES):
        kept.offer(picture(value), FOUND)

    assert len(kept) == MAX_PICTURES


def test_the_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirteen pictures of yolov4-p6's size, 1280x1280, fit."""
    assert MAX_BYTES // (1280 * 1280 * 3) == 13
    size = picture(0)[0].nbytes
    monkeypatch.setattr(picture_sample, "MAX_BYTES", 5 * size + 1)
    kept = sample()
    for value in range(20):
        kept.offer(picture(value), FOUND)

    assert len(kept) == 5


def test_pictures_that_follow_at_once_are_not_kept() -> None:
    """A camera's frames of one second are nearly the same."""
    kept = PictureSample(0.5, interval_s=3600)
    kept.offer(picture(1), FOUND)
    kept.offer(picture(2), FOUND)

    assert len(kept) == 1


def test_a_closed_sample_is_empty_and_stays_so() -> None:
    kept = sample()
    kept.offer(picture(1), FOUND)
    kept.close()
    kept.offer(picture(2), FOUND)

    assert len(kept) == 0
