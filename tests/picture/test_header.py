"""Reading picture headers, and bounds on malicious ones."""

from __future__ import annotations

import base64
import gzip
import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from elastic_yolo.picture.errors import (
    NotAPicture,
    PictureError,
    PictureTooLarge,
    PictureUndecodable,
)
from elastic_yolo.picture.exif import MAX_EXIF_ENTRIES
from elastic_yolo.picture.header import MAX_FILL_BYTES, MAX_SEGMENTS, check_pixels, read_header
from elastic_yolo.picture.png import IEND, MAX_CHUNKS
from tests.support.pictures import FORMATS, encode, plain, png_bomb, png_chunk, store_turned

sizes = st.integers(1, 70)
kinds = st.sampled_from(sorted(FORMATS))


@given(sizes, sizes, kinds)
def test_every_format_states_its_size(width: int, height: int, kind: str) -> None:
    header = read_header(encode(plain(width, height), kind))

    assert (header.media_type, header.width, header.height) == (FORMATS[kind], width, height)


@pytest.mark.parametrize("options", [{"progressive": True}, {"lossless": True}, {}])
def test_variants_of_a_format_state_their_size(options: dict[str, bool]) -> None:
    """A progressive JPEG has several scans; a lossless WebP has another kind of chunk."""
    kind = "JPEG" if "progressive" in options else "WEBP"

    header = read_header(encode(plain(40, 30), kind, **options))

    assert (header.width, header.height) == (40, 30)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_found_and_upright_size_follows_it(kind: str, orientation: int) -> None:
    stored = store_turned(plain(40, 30), orientation)

    header = read_header(encode(stored, kind, orientation))

    assert header.orientation == orientation
    assert header.upright_size == (40, 30)


@given(sizes, sizes, kinds.filter(lambda kind: kind != "JPEG"), st.floats(0, 1, exclude_max=True))
def test_a_file_that_ends_early_is_refused(
    width: int, height: int, kind: str, fraction: float
) -> None:
    """But for a JPEG, whose scans only a decoder understands."""
    whole = encode(plain(width, height), kind)
    if kind == "BMP":
        whole = whole.rstrip(b"\0")  # the padding of the last row
    if kind == "PNG":
        whole = whole.removesuffix(IEND)[:-8]  # without the checksums behind the pixels

    with pytest.raises(PictureError):
        read_header(whole[: int(len(whole) * fraction)])


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"RIFF....WEBP", b"BM"]))
def test_random_bytes_raise_only_picture_errors(noise: bytes, start: bytes) -> None:
    with pytest.raises(PictureError):
        read_header(start + noise)


@given(st.data(), kinds, st.integers(1, 8))
def test_flipped_bytes_raise_only_picture_errors(
    data: st.DataObject, kind: str, orientation: int
) -> None:
    file = bytearray(encode(plain(9, 7), kind, orientation))
    for _ in range(3):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))

    try:
        header = read_header(bytes(file))
    except PictureError:
        return

    assert header.width >= 1
    assert 1 <= header.orientation <= 8


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", None),
        (bytes(20), None),
        (b"<html><body>hello</body></html>", "an HTML page"),
        (b"<svg></svg>", "XML, perhaps an SVG"),
        (b"GIF89a" + bytes(50), "a GIF"),
        (b"MM\0*" + bytes(50), "a TIFF"),
        (b"\0\0\0\x1cftypavif" + bytes(50), "an AVIF"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "a HEIC"),
        (b"\0\0\0\x20ftypisom" + bytes(50), "a video or another ISO media file"),
        (b"%PDF-1.7", "a PDF"),
        (gzip.compress(b"picture", mtime=0), "compressed with gzip: state Content-Encoding: gzip"),
        (base64.b64encode(b"\xff\xd8\xff\xe0"), "base64: decode it first"),
        (b"client/photos/dog.jpg", "the name of a file, not its content: curl reads"),
        (b"# Notes\nof several lines\n", "text"),
    ],
)
def test_other_content_is_not_a_picture_and_is_named(content: bytes, found: str | None) -> None:
    with pytest.raises(NotAPicture) as refused:
        read_header(content)

    message = str(refused.value)
    assert message.startswith("not an accepted picture format: expected JPEG, PNG, WebP or BMP")
    assert (", found " in message) == (found is not None)
    assert (found or "") in message


def test_a_decompression_bomb_is_not_decoded() -> None:
    header = read_header(png_bomb(20_000, 15_000))

    with pytest.raises(PictureTooLarge, match="300,000,000 pixels"):
        check_pixels(header, 64_000_000)


def test_a_header_without_pixels_is_refused() -> None:
    with pytest.raises(PictureUndecodable, match="0x15000"):
        read_header(png_bomb(0, 15_000))


JPEG = encode(plain(40, 30), "JPEG")
EMPTY_COMMENT = b"\xff\xfe\x00\x02"


def split_png(pixels: np.ndarray, piece: int) -> bytes:
    """Return a PNG file whose IDAT chunks hold `piece` bytes each."""
    height, width, _ = pixels.shape
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    data = zlib.compress(rows, 0)
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
    chunks = [png_chunk(b"IHDR", head), *(png_chunk(b"IDAT", part) for part in pieces)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + png_chunk(b"IEND", b"")


def tiff(orientation: int, entries_before: int = 0) -> bytes:
    """Return the TIFF block of an Exif segment; other entries come before the orientation."""
    other = b"\x01\x00\x00\x03\x00\x00\x00\x01\x00\x00\x00\x00"
    wanted = b"\x01\x12\x00\x03\x00\x00\x00\x01" + orientation.to_bytes(2, "big") + b"\0\0"
    count = (entries_before + 1).to_bytes(2, "big")
    return b"MM\x00*\x00\x00\x00\x08" + count + other * entries_before + wanted


def exif_segment(orientation: int, entries_before: int = 0) -> bytes:
    body = b"Exif\0\0" + tiff(orientation, entries_before)
    return b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body


@given(st.integers(0, 9), st.integers(0, 9))
def test_fill_bytes_before_markers_are_skipped(first: int, second: int) -> None:
    fill, more = b"\xff" * first, b"\xff" * second

    header = read_header(JPEG[:2] + fill + EMPTY_COMMENT + more + JPEG[2:])

    assert (header.width, header.height) == (40, 30)


def test_a_megabyte_of_fill_bytes_is_refused() -> None:
    """Each took one loop iteration: 20 MB of them blocked the event loop for 1.9 s."""
    with pytest.raises(PictureUndecodable, match="1,048,576 or more fill bytes"):
        read_header(JPEG[:2] + b"\xff" * MAX_FILL_BYTES + JPEG[2:])


def test_fill_bytes_are_counted_together() -> None:
    run = b"\xff" * (MAX_FILL_BYTES // 4) + EMPTY_COMMENT

    read_header(JPEG[:2] + 3 * run + JPEG[2:])
    with pytest.raises(PictureUndecodable, match="fill bytes"):
        read_header(JPEG[:2] + 4 * run + JPEG[2:])


def test_a_jpeg_of_very_many_segments_is_refused() -> None:
    read_header(JPEG[:2] + EMPTY_COMMENT * (MAX_SEGMENTS - 50) + JPEG[2:])
    with pytest.raises(PictureUndecodable, match="no scan among its first 5,000 segments"):
        read_header(JPEG[:2] + EMPTY_COMMENT * MAX_SEGMENTS + JPEG[2:])


def test_a_jpeg_with_too_many_bare_markers_is_refused() -> None:
    with pytest.raises(PictureUndecodable, match="no scan among"):
        read_header(JPEG[:2] + b"\xff\x01" * MAX_SEGMENTS + JPEG[2:])


@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_a_png_may_be_in_small_pieces(piece: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    data = split_png(pixels, piece)

    header = read_header(data)

    assert (header.width, header.height) == (40, 30)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)


def test_twenty_megabytes_of_png_in_chunks_of_1_kb_are_read() -> None:
    data = split_png(np.zeros((1960, 3400, 3), np.uint8), 1024)

    header = read_header(data)

    assert len(data) > 20_000_000
    assert (header.width, header.height) == (3400, 1960)


def test_a_png_of_very_many_chunks_is_refused() -> None:
    whole = split_png(plain(40, 30), 1000)
    many = png_chunk(b"IDAT", b"") * MAX_CHUNKS

    with pytest.raises(PictureUndecodable, match="no IEND among its first 20,000 chunks"):
        read_header(whole[:33] + many + whole[33:])


def test_a_webp_of_very_many_chunks_is_refused() -> None:
    whole = encode(plain(40, 30), "WEBP")
    many = b"ABCD\0\0\0\0" * MAX_CHUNKS
    size = (len(whole) + len(many) - 8).to_bytes(4, "little")

    with pytest.raises(PictureUndecodable, match="20,000 chunks"):
        read_header(whole[:4] + size + whole[8:] + many)


def test_the_first_orientation_of_a_jpeg_counts() -> None:
    """As in viewers. Reading a block takes one step for each of its entries."""
    assert read_header(JPEG[:2] + exif_segment(6) + exif_segment(3) + JPEG[2:]).orientation == 6


def test_an_orientation_after_too_many_entries_is_ignored() -> None:
    near, far = exif_segment(6, MAX_EXIF_ENTRIES - 1), exif_segment(6, MAX_EXIF_ENTRIES)

    assert read_header(JPEG[:2] + near + JPEG[2:]).orientation == 6
    assert read_header(JPEG[:2] + far + JPEG[2:]).orientation == 1


@pytest.mark.parametrize("marker", [b"\xff\xc0", b"\xff\xda"])
@pytest.mark.parametrize("length", [2, 4, 9, 18])
def test_a_frame_or_scan_header_of_a_wrong_length_is_refused(marker: bytes, length: int) -> None:
    """Its fields would be read from the bytes of the next segment."""
    whole = encode(plain(40, 30), "JPEG")
    at = whole.index(marker) + len(marker)
    cut = whole[:at] + length.to_bytes(2, "big") + whole[at + 2 : at + length] + whole[at + 40 :]

    with pytest.raises(PictureUndecodable):
        read_header(cut)
