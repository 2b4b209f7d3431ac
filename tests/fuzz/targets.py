"""The fuzz targets: functions that must return for any bytes.

Anything that leaves a target, other than the errors which it is documented to raise, is a finding.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from elastic_yolo.comparison.detection_file import parse_detections
from elastic_yolo.detector.darknet.cfg import parse_cfg
from elastic_yolo.detector.darknet.data_file import parse_data_file
from elastic_yolo.detector.darknet.fork import needs_fork
from elastic_yolo.detector.darknet.options import _KNOWN, _ONLY
from elastic_yolo.detector.darknet.plan import plan_network
from elastic_yolo.detector.darknet.weights import read_weights
from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.manifest import parse_manifest
from elastic_yolo.detector.model import read_model
from elastic_yolo.picture.errors import PictureError
from elastic_yolo.picture.header import read_header
from elastic_yolo.picture.jpeg_scans import check_scans, mend
from elastic_yolo.picture.webp import first_picture
from tests.support.consistency import assert_consistent, assert_one_line
from tests.support.pictures import encode, plain
from tests.support.tiny import CFG, write_tiny_model, write_weights

ROOT = Path(__file__).resolve().parents[2]
SEEDS = [path.read_text("utf-8") for path in sorted((ROOT / "tests/fuzz/seeds").glob("*.cfg"))]
DEMO = [path.read_text("utf-8") for path in ROOT.glob("models/*/*.cfg")]
# Few lines, so that mutations often hit two related ones.
TINY = CFG.format(width=32, height=32)
SMALL = [plan_network(parse_cfg(text)) for text in SEEDS[:3]]


@cache
def scratch() -> Path:
    """Return a folder for the files that targets write."""
    return Path(tempfile.mkdtemp())


@cache
def _tiny() -> Path:
    return write_tiny_model(scratch() / "tiny")


def cfg(data: bytes) -> None:
    """A .cfg is refused, or its network is consistent."""
    try:
        network = plan_network(parse_cfg(data.decode("utf-8", "surrogateescape")))
    except ModelError as error:
        assert_one_line(error)
    else:
        assert_consistent(network, scratch())


def weights(data: bytes) -> None:
    """Weights are refused, or finite, also after folding.

    The first byte selects the network, and whether the rest is brought to the required length:
    few changes keep a length, and whatever does not ends early.
    """
    choice = data[0] if data else 0
    network = SMALL[choice % len(SMALL)]
    body = data[1:]
    if choice & 0x80:
        body = body[: 20 + 4 * network.float_count].ljust(20 + 4 * network.float_count, b"\1")
    path = scratch() / "some.weights"
    path.write_bytes(body)
    try:
        found = read_weights(path, network)
    except ModelError as error:
        assert_one_line(error)
        return
    for convolution in found.convolutions.values():
        filters, biases = convolution.folded(fork=needs_fork(network))
        assert np.isfinite(filters).all()
        assert np.isfinite(biases).all()


def manifest(data: bytes) -> None:
    """A model.yaml is refused, or its values are within their ranges."""
    try:
        stated = parse_manifest(data.decode("utf-8", "replace"))
    except ModelError as error:
        assert_one_line(error)
        return
    assert 0 <= stated.threshold <= 1
    assert stated.golden is None or "/" not in stated.golden.picture
    assert all("/" not in name for name in stated.files)


def names(data: bytes) -> None:
    """Labels are refused, or printable and one for each class."""
    (_tiny() / "tiny.names").write_bytes(data)
    try:
        model = read_model(_tiny())
    except ModelError as error:
        assert_one_line(error)
        return
    assert len(model.labels) == 2
    assert not any("\n" in label or "\x1b" in label for label in model.labels)


def data_file(data: bytes) -> None:
    """A .data file is refused, or has a number of classes and the base name of a file."""
    try:
        stated = parse_data_file(data.decode("utf-8", "surrogateescape"))
    except ModelError as error:
        assert_one_line(error)
        return
    assert stated.classes is None or 1 <= stated.classes < 10**6
    assert stated.names is None or Path(stated.names).name == stated.names
    assert stated.names is None or "\\" not in stated.names


def detections(data: bytes) -> None:
    """A file with detections is refused, or its labels are printable and its numbers in range."""
    try:
        found = parse_detections(data.decode("utf-8", "replace"))
    except ModelError as error:
        assert_one_line(error)
        return
    for name, stated in found.items():
        assert "/" not in name
        for one in stated.in_pixels((100, 100)):
            assert one.label.isprintable()
            assert 0 <= one.score <= 1
            assert np.isfinite(one.box).all()


def header(data: bytes) -> None:
    """A picture's header is read or refused."""
    try:
        found = read_header(data)
    except PictureError:
        return
    assert min(found.upright_size) >= 1
    assert found.orientation in range(1, 9)
    if found.jpeg is not None:
        # What `decode` does with a JPEG that libjpeg complains about.
        with suppress(PictureError, ValueError, IndexError):
            assert read_header(mend(data)).upright_size == found.upright_size
        with suppress(PictureError, ValueError, IndexError):
            check_scans(data)
    if found.media_type == "image/webp":
        first_picture(data)


@dataclass(frozen=True)
class Target:
    """A function, its seeds, and the longest useful input in bytes.

    Where `lines` is set, whole lines are changed as often as bytes.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]
    words: tuple[str, ...]
    longest: int
    lines: bool = False


def _cfg_words() -> tuple[str, ...]:
    keys = {
        *" ".join(_KNOWN.values()).split(),
        *(key for only in _ONLY.values() for key in only),
        "batch",
        "steps",
    }
    kinds = {f"\n[{kind}]\n" for kind in _KNOWN}
    numbers = {"=0", "=-1", "=2147483647", "=4294967296", "=1e308", "=nan", "=1_0", ",-1", ",0,1"}
    return tuple(sorted({f"\n{key}=" for key in keys} | kinds | numbers))


def _cfg_seeds() -> Iterator[bytes]:
    yield from (text.encode() for text in (*SEEDS, *DEMO, TINY))


def _weights_seeds() -> Iterator[bytes]:
    for number, network in enumerate(SMALL):
        for version in ((0, 2, 5), (0, 1, 0)):
            path = scratch() / "seed.weights"
            write_weights(path, np.linspace(0.1, 1, network.float_count), version=version)
            # Both of a number modulo 3, with the highest bit and without.
            yield bytes([number]) + path.read_bytes()
            yield bytes([0x81 + number]) + path.read_bytes()


def _manifest_seeds() -> Iterator[bytes]:
    yield from (path.read_bytes() for path in ROOT.glob("models/*/model.yaml"))
    yield b"%YAML 1.1\n---\nname: 'a'\nversion: \"\\u0041\"\niou: |\n  0.5\n...\n"
    yield b"files: &a {? x : !!str y, <<: *a}\ngolden: [2020-01-02, 0x1f, 1:30, .inf, ~]\n"


def _names_seeds() -> Iterator[bytes]:
    yield b"square\ncircle\n"
    yield b"\xef\xbb\xbfcaf\xc3\xa9\r\n\r\nx y\r\n"


def _data_file_seeds() -> Iterator[bytes]:
    yield b"classes= 80\ntrain = /a/b.txt\nnames = data/coco.names\nbackup = backup/\neval=coco\n"
    yield b"# comment\r\n; comment\r\nnames=C:\\x64\\data\\obj.names\r\n"


def _detections_seeds() -> Iterator[bytes]:
    yield b'{"picture": "a/b.jpg", "data": [["dog", 0.5, [1, 2, 3, 4]]]}\n'
    yield (
        b'[{"frame_id":1, "filename":"a.jpg", "objects": [{"class_id":1, "name":"dog", "confidence"'
        b':0.9, "relative_coordinates":{"center_x":0.2,"center_y":0.2,"width":0.1,"height":0.1}}]}]'
    )
    yield (
        b'{"images": [{"id": 1, "file_name": "a"}], "categories": [{"id": 2, "name": "b"}], '
        b'"annotations": [{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.1}]}'
    )


def _header_seeds() -> Iterator[bytes]:
    for kind in ("JPEG", "PNG", "WEBP", "BMP"):
        yield encode(plain(9, 7), kind)
    for kind in ("JPEG", "PNG", "WEBP"):
        yield encode(plain(9, 7), kind, orientation=6)
    yield encode(plain(9, 7), "WEBP", lossless=True)
    yield encode(plain(9, 7), "JPEG", progressive=True)


TARGETS = {
    "cfg": Target(cfg, _cfg_seeds, _cfg_words(), 4096, lines=True),
    "weights": Target(weights, _weights_seeds, (), 8192),
    "manifest": Target(
        manifest,
        _manifest_seeds,
        ("!!python/object:os.system ", "!!binary ", "!!timestamp ", "%YAML 1.", "%TAG ! ", "<<: *",
         "&a ", "*a", "\\U0011", "\\ud800", "sha256:", "golden:", "picture:", "expected:", "files:",
         "tolerance:", "threshold:", "version:", ".nan", "0x_", "1:59", "2020-99-99", "- - ", "? "),
        4096,
        lines=True,
    ),
    "names": Target(names, _names_seeds, ("\u2028", "\x85", "\x1b[2J", "\xa0"), 512),
    "data": Target(
        data_file,
        _data_file_seeds,
        ("classes=", "names=", "../", "..\\", "/", "=", "#", "\x85", "\u2028", "\x1b[2J"),
        512,
        lines=True,
    ),
    "detections": Target(
        detections,
        _detections_seeds,
        ("NaN", "1e999", "-1", "[[[[", "\\u0000", "\\ud800", "\x1b", "null", "true", '"picture"'),
        1024,
    ),
    "header": Target(
        header,
        _header_seeds,
        ("Exif", "VP8X", "VP8L", "VP8 ", "EXIF", "IHDR", "eXIf", "IEND"),
        4096,
    ),
}  # fmt: skip
