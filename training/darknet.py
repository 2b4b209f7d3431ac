"""Darknet itself (Debian's package `darknet`), called through ctypes, as an oracle."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_float, c_int, c_void_p
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.detect import Found

LIBRARY = Path("/usr/lib/darknet/libdarknet.so")


class _Box(ctypes.Structure):
    _fields_ = (("x", c_float), ("y", c_float), ("w", c_float), ("h", c_float))


class _Detection(ctypes.Structure):
    _fields_ = (
        ("box", _Box),
        ("classes", c_int),
        ("prob", POINTER(c_float)),
        ("mask", POINTER(c_float)),
        ("objectness", c_float),
        ("sort_class", c_int),
    )


class _Image(ctypes.Structure):
    _fields_ = (("w", c_int), ("h", c_int), ("c", c_int), ("data", POINTER(c_float)))


class Darknet:
    """A network loaded by Darknet from a .cfg and .weights."""

    def __init__(self, cfg: Path, weights: Path, library: Path = LIBRARY) -> None:
        """Load both files; Darknet ends the process if one of them cannot be read."""
        lib = ctypes.CDLL(str(library))
        lib.load_network.argtypes = (c_char_p, c_char_p, c_int)
        lib.load_network.restype = c_void_p
        lib.network_predict_image.argtypes = (c_void_p, _Image)
        lib.network_predict_image.restype = POINTER(c_float)
        lib.get_network_boxes.argtypes = (
            *(c_void_p, c_int, c_int, c_float, c_float, POINTER(c_int), c_int),
            POINTER(c_int),
        )
        lib.get_network_boxes.restype = POINTER(_Detection)
        lib.do_nms_sort.argtypes = (POINTER(_Detection), c_int, c_int, c_float)
        lib.free_detections.argtypes = (POINTER(_Detection), c_int)
        self._lib = lib
        self._network = lib.load_network(str(cfg).encode(), str(weights).encode(), 0)

    def detect(self, picture: NDArray[np.uint8], threshold: float, iou: float) -> list[Found]:
        """Find objects in an RGB picture [h, w, 3]; the best score comes first."""
        height, width = picture.shape[:2]
        planes = picture.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        data = np.ascontiguousarray(planes)
        image = _Image(width, height, 3, data.ctypes.data_as(POINTER(c_float)))
        self._lib.network_predict_image(self._network, image)
        count = c_int(0)
        found = self._lib.get_network_boxes(
            self._network, width, height, threshold, 0.5, None, 0, ctypes.byref(count)
        )
        if count.value:
            self._lib.do_nms_sort(found, count.value, found[0].classes, iou)
        result = [one for i in range(count.value) for one in _detections(found[i])]
        self._lib.free_detections(found, count.value)
        return sorted(result, key=lambda one: -one.score)


def _detections(detection: _Detection) -> list[Found]:
    """Return one detection for each class that is left after NMS."""
    box = detection.box
    corners = (box.x - box.w / 2, box.y - box.h / 2, box.x + box.w / 2, box.y + box.h / 2)
    return [
        Found(label, detection.prob[label], corners)
        for label in range(detection.classes)
        if detection.prob[label] > 0
    ]
