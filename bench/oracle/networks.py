"""The networks of the comparisons, by name.

Debian's package darknet brings those of 2016 to 2018. Those that came later are written here: their
.cfg files cannot be copied into this repository, and what they describe is fact.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.oracle.yolov4 import yolov4, yolov4_tiny, yolov4_tiny_3l
from bench.oracle.yolov4_scaled import SCALED, scaled
from bench.oracle.yolov7 import yolov7_tiny

DEBIAN = Path("/usr/share/darknet/cfg")
_OF_DEBIAN = (
    "yolov2", "yolov2-voc", "yolov2-tiny", "yolov2-tiny-voc",
    "yolov3", "yolov3-voc", "yolov3-tiny", "yolov3-spp", "yolov3-openimages",
)  # fmt: skip


def _of_debian(name: str) -> str:
    return (DEBIAN / f"{name}.cfg").read_text()


_TEXTS: dict[str, Callable[[], str]] = {
    **{name: partial(_of_debian, name) for name in _OF_DEBIAN},
    "yolov4": yolov4,
    "yolov4-tiny": yolov4_tiny,
    "yolov4-tiny-3l": yolov4_tiny_3l,
    **{name: partial(scaled, shape) for name, shape in SCALED.items()},
    "yolov7-tiny": yolov7_tiny,
}

NETWORKS = tuple(_TEXTS)


def write_cfg(name: str, folder: Path, size: tuple[int, int] | None = None) -> Path:
    """Write the .cfg of a network into a folder and return its path.

    `size` is (width, height) of its input, if it is to have another than its own. Raises
    FileNotFoundError where the network is Debian's and its package is not installed.
    """
    target = folder / f"{name}.cfg"
    text = _TEXTS[name]()
    if size is not None:
        for side, pixels in zip(("width", "height"), size, strict=True):
            text = re.sub(rf"(?m)^{side}=.*$", f"{side}={pixels}", text)
    target.write_text(text)
    return target
