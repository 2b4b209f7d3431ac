"""Run Debian's libdarknet.so (pjreddie's C code, September 2018) in this process.

The library ends the whole process (`exit`, `assert`) on what it treats as a fatal error, such as a
missing file or an invalid .cfg. So this module checks that files exist, and callers must only pass
a .cfg that is known to be valid. Of a valid .cfg it removes what only this library cannot read:
carriage returns, a byte order mark, and zero bytes behind the end. The library accepts a .weights
file that is too short: the remaining layers keep their initial values.
"""

from __future__ import annotations

import codecs
import ctypes
import os
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_void_p
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from elastic_yolo.detector.boxes import Floats
from elastic_yolo.detector.boxes import Image as Picture
from elastic_yolo.detector.darknet.options import INERT
from elastic_yolo.detector.engines.libdarknet_structs import (
    REGION,
    YOLO,
    Detection,
    Image,
    Layer,
    Network,
)
from elastic_yolo.detector.errors import EngineError
from elastic_yolo.detector.inputs import GREY_WEIGHTS

DarknetBox = tuple[int, float, tuple[float, float, float, float]]
"""Class index, score, (centre x, centre y, width, height)."""

_PLACES = (
    Path("/usr/lib/darknet/libdarknet.so"),
    Path("/usr/lib/x86_64-linux-gnu/libdarknet.so"),
    Path("/usr/lib/aarch64-linux-gnu/libdarknet.so"),
)

# Used by word trees (YOLO9000) only, but a mandatory argument.
_HIERARCHY_THRESHOLD = 0.5


def find_libdarknet() -> Path | None:
    """Return the path of the installed library, or None."""
    return next((place for place in _PLACES if place.is_file()), None)


class LibDarknet:
    """A network in libdarknet, for one picture at a time. A context manager that frees it."""

    def __init__(self, cfg: Path, weights: Path) -> None:
        """Load a network; raises EngineError or, for a missing file, FileNotFoundError."""
        for path in (cfg, weights):
            if not path.is_file():
                raise FileNotFoundError(path)
        self._lib = _load_library()
        with _readable(cfg) as readable, silence():
            self._net = self._lib.load_network(os.fsencode(readable), os.fsencode(weights), 0)
            # A .cfg with training settings has a larger batch size.
            self._lib.set_batch_network(self._net, 1)
        # Engines have no end of their own: the network is freed with the object.
        self._free = weakref.finalize(self, self._lib.free_network, self._net)
        self._free.atexit = False
        network = self._net.contents
        # Compares struct members with the library's own functions, to detect another struct layout.
        self.width = int(self._lib.network_width(self._net))
        self.height = int(self._lib.network_height(self._net))
        self.channels = int(network.c)
        if (network.w, network.h) != (self.width, self.height) or self.channels not in (1, 3):
            raise EngineError("libdarknet.so: unknown layout: expected that of September 2018")
        self._layers: list[Layer] = [network.layers[i] for i in range(network.n)]
        self._heads = [i for i, layer in enumerate(self._layers) if layer.type in (REGION, YOLO)]
        self.classes = int(self._layers[self._heads[-1]].classes)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free the network."""
        self._free()

    def raw_head_inputs(self, image: Picture) -> list[Floats]:
        """Run a picture; returns the input of each head, in network order.

        `image` is (height, width, 3) RGB from 0 to 255; a network with one channel gets its grey
        values. Each array is (anchors, 5 + classes, rows,
        columns) float32, before any logistic function.
        """
        self._predict(image)
        return [self._values_of(index - 1, index) for index in self._heads]

    def detect(self, picture: Path, threshold: float, iou: float) -> list[DarknetBox]:
        """Detect objects like `darknet detect`: file, letterbox, network, boxes, do_nms_sort.

        Boxes are in pixels of the picture, with one entry for every class of a box whose
        probability exceeds the threshold, best score first. For a network with one channel the
        picture is loaded as grey, as AlexeyAB's fork does; `darknet detect` would pass the red one.
        """
        if not picture.is_file():
            raise FileNotFoundError(picture)
        with silence():
            image = self._load(picture)
            self._lib.network_predict_image(self._net, image)
            found = self._boxes(image.w, image.h, threshold, iou)
        self._lib.free_image(image)
        return found

    def last_boxes(self, threshold: float, iou: float) -> list[DarknetBox]:
        """Return the boxes of the last run like `detect`, in pixels of the network's input."""
        with silence():
            return self._boxes(self.width, self.height, threshold, iou)

    def _boxes(self, width: int, height: int, threshold: float, iou: float) -> list[DarknetBox]:
        count = c_int(0)
        boxes = self._lib.get_network_boxes(
            self._net, width, height, threshold, _HIERARCHY_THRESHOLD, None, 0, byref(count)
        )
        self._lib.do_nms_sort(boxes, count, self.classes, iou)
        found = [entry for i in range(count.value) for entry in self._classes_of(boxes[i])]
        self._lib.free_detections(boxes, count)
        return sorted(found, key=lambda entry: -entry[1])

    def letterbox(self, picture: Path) -> Floats:
        """Return a picture file as network input: (height, width, channels), from 0 to 1."""
        if not picture.is_file():
            raise FileNotFoundError(picture)
        with silence():
            image = self._load(picture)
            boxed = self._lib.letterbox_image(image, self.width, self.height)
        planes = np.ctypeslib.as_array(boxed.data, (self.channels, self.height, self.width)).copy()
        self._lib.free_image(boxed)
        self._lib.free_image(image)
        return np.ascontiguousarray(planes.transpose(1, 2, 0))

    def _load(self, picture: Path) -> Image:
        """Load a picture file in the network's channels."""
        if self.channels == 1:
            # Debian's load_image swaps the first and the third channel, also where there is one.
            image: Image = self._lib.load_image_stb(os.fsencode(picture), 1)
        else:
            image = self._lib.load_image_color(os.fsencode(picture), 0, 0)
        return image

    def _predict(self, image: Picture) -> None:
        if image.shape != (self.height, self.width, 3):
            raise ValueError(f"expected {(self.height, self.width, 3)}, got {image.shape}")
        planes = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) / np.float32(255)
        if self.channels == 1:
            planes = np.tensordot(np.array(GREY_WEIGHTS, np.float32), planes, 1)
        with silence():
            self._lib.network_predict(self._net, planes.ctypes.data_as(POINTER(c_float)))

    def _values_of(self, index: int, head_index: int) -> Floats:
        head = self._layers[head_index]
        shape = (head.n, 5 + head.classes, head.h, head.w)
        # A copy: the next prediction overwrites the layer's memory.
        return np.ctypeslib.as_array(self._layers[index].output, shape).copy()

    def _classes_of(self, detection: Detection) -> Iterator[DarknetBox]:
        box = detection.bbox
        for number in range(self.classes):
            if detection.prob[number] > 0:
                yield number, float(detection.prob[number]), (box.x, box.y, box.w, box.h)


def _load_library() -> ctypes.CDLL:
    path = find_libdarknet()
    if path is None:
        raise EngineError("libdarknet.so is not installed: install Debian's package darknet")
    # The library is built with -ffast-math: the thread that loads it rounds subnormal numbers to
    # zero from then on. So a short-lived thread loads it.
    with ThreadPoolExecutor(max_workers=1) as loader:
        lib = loader.submit(ctypes.CDLL, str(path)).result()
    net = POINTER(Network)
    boxes = POINTER(Detection)
    _declare(lib, "load_network", net, c_char_p, c_char_p, c_int)
    _declare(lib, "free_network", None, net)
    _declare(lib, "set_batch_network", None, net, c_int)
    _declare(lib, "network_width", c_int, net)
    _declare(lib, "network_height", c_int, net)
    _declare(lib, "network_predict", c_void_p, net, POINTER(c_float))
    _declare(lib, "network_predict_image", c_void_p, net, Image)
    _declare(lib, "load_image_color", Image, c_char_p, c_int, c_int)
    _declare(lib, "load_image_stb", Image, c_char_p, c_int)
    _declare(lib, "letterbox_image", Image, Image, c_int, c_int)
    _declare(lib, "free_image", None, Image)
    _declare(
        lib, "get_network_boxes", boxes,
        net, c_int, c_int, c_float, c_float, POINTER(c_int), c_int, POINTER(c_int),
    )  # fmt: skip
    _declare(lib, "do_nms_sort", None, boxes, c_int, c_int, c_float)
    _declare(lib, "free_detections", None, boxes, c_int)
    return lib


def _declare(lib: ctypes.CDLL, name: str, result: type | None, *arguments: type) -> None:
    function = getattr(lib, name)
    function.restype = result
    function.argtypes = arguments


@contextmanager
def _readable(cfg: Path) -> Iterator[Path]:
    """Provide the path of a .cfg that the library reads like the other readers of these files.

    Without the options for training: for some of their values, such as more `subdivisions` than
    `batch`, the library ends the process.
    """
    content = cfg.read_bytes().removeprefix(codecs.BOM_UTF8).rstrip(b"\0")
    lines = content.replace(b"\r", b"" if b"\n" in content else b"\n").split(b"\n")
    with tempfile.NamedTemporaryFile(suffix=".cfg") as file:
        file.write(b"\n".join(line for line in lines if _key(line) not in INERT))
        file.flush()
        yield Path(file.name)


def _key(line: bytes) -> str:
    """Return what the library takes for the key of a line: it drops blanks, also inside."""
    return b"".join(line.partition(b"=")[0].split()).decode("latin-1")


class _Silence:
    """Redirects file descriptors 1 and 2 to /dev/null: the library prints every layer it loads.

    They belong to the process: the first of several threads redirects them, the last restores them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = 0
        self._restore = ExitStack()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._threads == 0:
                self._redirect()
            self._threads += 1
        try:
            yield
        finally:
            with self._lock:
                self._threads -= 1
                if self._threads == 0:
                    self._restore.close()

    def _redirect(self) -> None:
        c_library = ctypes.CDLL(None)
        sys.stdout.flush()
        sys.stderr.flush()
        c_library.fflush(None)
        with ExitStack() as restore:
            null = os.open(os.devnull, os.O_WRONLY)
            restore.callback(os.close, null)
            for target in (1, 2):
                saved = os.dup(target)
                restore.callback(os.close, saved)
                os.dup2(null, target)
                restore.callback(os.dup2, saved, target)
            # Discards what C has buffered before the descriptors are restored.
            restore.callback(c_library.fflush, None)
            self._restore = restore.pop_all()


silence = _Silence()
