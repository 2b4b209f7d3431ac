"""What a header says, and that no header can do harm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picture.errors import NotAPicture, PictureError, PictureTooLarge, PictureUndecodable
from picture.header import check_pixels, read_header
from tests.pictures import FORMATS, encode, plain, png_bomb, store_turned

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


@given(sizes, sizes, kinds, st.floats(0, 1, exclude_max=True))
def test_a_file_that_ends_early_is_refused(
    width: int, height: int, kind: str, fraction: float
) -> None:
    whole = encode(plain(width, height), kind)

    with pytest.raises(PictureError):
        read_header(whole[: int(len(whole) * fraction)])


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"RIFF....WEBP", b"BM"]))
def test_random_bytes_raise_nothing_but_picture_errors(noise: bytes, start: bytes) -> None:
    with pytest.raises(PictureError):
        read_header(start + noise)


@given(st.data(), kinds, st.integers(1, 8))
def test_flipped_bytes_raise_nothing_but_picture_errors(
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
    "content", [b"", b"<html><body>hello</body></html>", b"GIF89a" + bytes(50), b"%PDF-1.7"]
)
def test_other_content_is_not_a_picture(content: bytes) -> None:
    with pytest.raises(NotAPicture, match="image/jpeg"):
        read_header(content)


def test_a_bomb_is_measured_and_not_decoded() -> None:
    header = read_header(png_bomb(20_000, 15_000))

    with pytest.raises(PictureTooLarge, match="300,000,000 pixels"):
        check_pixels(header, 64_000_000)


def test_a_header_without_pixels_is_refused() -> None:
    with pytest.raises(PictureUndecodable, match="0x15000"):
        read_header(png_bomb(0, 15_000))
