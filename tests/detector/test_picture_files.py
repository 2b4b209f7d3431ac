"""What decodes, to which pixels, and what is refused: JPEG, PNG, WebP and BMP of every kind."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from elastic_yolo.detector.decode import decode, decode_upright
from elastic_yolo.picture.errors import PictureError, PictureUndecodable
from elastic_yolo.picture.header import read_header
from elastic_yolo.picture.jpeg_scans import MAX_SCANS
from tests.support.bmp_files import bmp_file, pack_indices, pack_words, pad_rows, run_lengths
from tests.support.exif_blocks import INTEGER_TYPES, PREFIX, exif_block
from tests.support.jpeg_files import END, insert_segment, scan_starts, segments_end
from tests.support.picture_variants import pillow_pixels, variant
from tests.support.pictures import encode, plain, png_chunk
from tests.support.png_files import COLOUR, COLOUR_ALPHA, png_file, png_rows, with_bad_checksum
from tests.support.webp_files import webp_chunks, webp_file

SCENE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
JPEG = encode(SCENE, "JPEG", quality=90)
PIXELS = pillow_pixels(JPEG)


def agrees(data: bytes, pixels: np.ndarray, tolerance: int = 0) -> bool:
    found = decode_upright(data)
    return (
        found.shape == pixels.shape and int(np.abs(found - pixels.astype(int)).max()) <= tolerance
    )


def check_variants(numbers: range) -> None:
    """Each is decoded to the pixels that it stands for; one that is cut may be refused instead."""
    for number in numbers:
        one = variant(number)
        try:
            good = agrees(one.data, one.pixels, one.tolerance)
        except PictureError:
            good = one.is_cut
        assert good, one.name


def test_generated_files_have_their_pixels_or_are_refused() -> None:
    check_variants(range(200))


@pytest.mark.long
def test_a_thousand_generated_files_have_their_pixels_or_are_refused() -> None:
    check_variants(range(200, 1200))


def test_most_generated_files_that_are_cut_are_refused() -> None:
    """Of some, only bits are missing that fill the last byte."""
    cut = [one for one in map(variant, range(120)) if one.is_cut]

    def is_refused(data: bytes) -> bool:
        try:
            decode_upright(data)
        except PictureError:
            return True
        return False

    assert sum(is_refused(one.data) for one in cut) >= 0.95 * len(cut) > 10


# JPEG


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("part", [0.3, 0.7, 0.95])
def test_a_jpeg_whose_end_is_zeros_is_refused(options: dict[str, int], part: float) -> None:
    """A download that was interrupted, into a file that had its size already."""
    whole = encode(np.repeat(SCENE, 6, axis=1), "JPEG", quality=90, **options)
    kept = int(part * len(whole))

    with pytest.raises(PictureUndecodable):
        decode_upright(whole[:kept] + bytes(len(whole) - kept))


def test_zeros_behind_the_end_of_a_jpeg_are_ignored() -> None:
    assert agrees(JPEG + bytes(500), PIXELS)


@pytest.mark.parametrize("at", range(1, 7))
def test_stray_bytes_in_front_of_a_segment_are_skipped(at: int) -> None:
    position = segments_end(JPEG)[at]

    for stray in (b"\0", b"abc", b"\xff\0", bytes(300)):
        assert agrees(JPEG[:position] + stray + JPEG[position:], PIXELS)


def test_a_megabyte_of_stray_bytes_is_refused() -> None:
    position = segments_end(JPEG)[1]

    with pytest.raises(PictureUndecodable, match="fill bytes"):
        read_header(JPEG[:position] + bytes(1 << 20) + JPEG[position:])


@pytest.mark.parametrize("trailer", [b"", b"text", b"\xff", bytes(100_000), JPEG, JPEG[:200]])
@pytest.mark.parametrize("end", [END, b""])
def test_a_jpeg_with_whole_scans_is_taken_whatever_follows(end: bytes, trailer: bytes) -> None:
    assert agrees(JPEG[: -len(END)] + end + trailer, PIXELS)


@pytest.mark.parametrize("end", [END, b"", JPEG, b"text"])
@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 1}, {"subsampling": 2}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_scan_that_ends_early_is_refused(mode: str, options: dict[str, int], end: bytes) -> None:
    target = io.BytesIO()
    Image.fromarray(SCENE).convert(mode).save(target, "JPEG", **options)
    data = target.getvalue()
    start = scan_starts(data)[0]

    for kept in (0.1, 0.5, 0.9):
        cut = data[: start + int((len(data) - start) * kept)]
        with pytest.raises(PictureUndecodable, match="truncated or damaged"):
            decode_upright(cut.rstrip(b"\xff") + end)


def test_a_lost_restart_is_refused() -> None:
    data = encode(SCENE, "JPEG", restart_marker_blocks=1)
    at = data.index(b"\xff\xd1")

    with pytest.raises(PictureUndecodable, match="truncated or damaged"):
        decode_upright(data[:at] + data[at + 2 :])


@pytest.mark.parametrize("end", [END, b""])
def test_a_progressive_jpeg_without_its_last_scans_is_refused(end: bytes) -> None:
    """Decoders make a blurred picture of the first ones."""
    data = encode(SCENE, "JPEG", progressive=True)
    assert agrees(data, pillow_pixels(data))

    for start in scan_starts(data)[1:]:
        at = data.rindex(b"\xff\xda", 0, start)
        with pytest.raises(PictureUndecodable, match="ends before its last scan"):
            decode_upright(data[:at] + end)


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    data = encode(plain(16, 16), "JPEG", progressive=True)
    start = scan_starts(data)[-1]
    last = data[data.rindex(b"\xff\xda", 0, start) : -len(END)]

    with pytest.raises(PictureUndecodable, match=f"more than {MAX_SCANS} scans"):
        decode_upright(data[: -len(END)] + MAX_SCANS * last + END)


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(
    ("found", "replaced"),
    [(b"JFIF\0\1", b"JFIF\0\7"), (b"\x3f\0", b"\x3e\0"), (b"\xff\xdb", b"\0\0\xff\xdb")],
    ids=["unknown JFIF", "impossible scan", "stray bytes"],
)
def test_a_first_complaint_does_not_hide_that_a_scan_ends_early(
    found: bytes, replaced: bytes, *, cut: bool
) -> None:
    """Libjpeg reports the first one alone."""
    start = scan_starts(JPEG)[0]
    data = JPEG[:start].replace(found, replaced) + JPEG[start:]

    if cut:
        with pytest.raises(PictureUndecodable, match="premature end"):
            decode_upright(data[: start + 100] + END)
    else:
        assert agrees(data, PIXELS)


def test_padding_behind_the_scan_is_harmless() -> None:
    assert agrees(JPEG[: -len(END)] + bytes(9) + END, PIXELS)


# Three components; the first one is sampled three times as often.
UNCOMMON = b"\x03\x01\x31\0\x02\x11\1\x03\x11\1"


def uncommon_jpeg() -> bytes:
    """Return a grey JPEG that claims subsampling by three: 3 blocks of Y, then Cb and Cr.

    The blocks of the wider picture are those of a picture in one component.
    """
    blocks = encode(plain(40, 8), "JPEG", subsampling=0, quality=50)
    at = blocks.index(b"\xff\xc0")
    sizes = struct.pack(">HH", 8, 24)
    return blocks[: at + 5] + sizes + UNCOMMON + blocks[at + 19 :]


def test_uncommon_subsampling_is_decoded_or_found_to_end_early() -> None:
    """Simplejpeg does not take it, and OpenCV says nothing of an early end."""
    data = uncommon_jpeg()
    header = read_header(data)
    assert header.jpeg is not None
    assert not header.jpeg.is_common

    assert decode_upright(data).shape == (8, 24, 3)
    with pytest.raises(PictureUndecodable, match="truncated or damaged"):
        decode_upright(data[: scan_starts(data)[0] + 2] + END)


# Orientation


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("kind", INTEGER_TYPES)
def test_an_orientation_of_any_integer_type_turns_the_picture(kind: int, order: str) -> None:
    block = exif_block(6, kind, order)

    assert agrees(insert_segment(JPEG, 0xE1, PREFIX + block), np.rot90(PIXELS, -1))


@pytest.mark.parametrize(
    "block",
    [
        exif_block(6, 2),
        exif_block(6, 5),
        exif_block(6, 7),
        exif_block(6, 11),
        exif_block(6, 0),
        exif_block(6, 3, count=2),
        exif_block(6, 3, count=0),
        exif_block(0, 3),
        exif_block(9, 3),
        exif_block(65_536 + 6, 4),
        exif_block(-6, 8),
        b"II*\0",
        b"XX*\0" + exif_block(6)[4:],
        b"",
    ],
)
def test_an_orientation_that_is_no_integer_from_1_to_8_is_ignored(block: bytes) -> None:
    assert agrees(insert_segment(JPEG, 0xE1, PREFIX + block), PIXELS)


@pytest.mark.parametrize("prefix", [b"", PREFIX])
def test_an_orientation_in_a_png_or_webp_may_have_the_prefix_of_a_jpeg(prefix: bytes) -> None:
    block = prefix + exif_block(6, 4)
    png = png_file(SCENE, COLOUR, 8, before=[png_chunk(b"eXIf", block)])
    target = io.BytesIO()
    Image.fromarray(SCENE).save(target, "WEBP", lossless=True, exif=block)

    assert agrees(png, np.rot90(SCENE, -1))
    assert agrees(target.getvalue(), np.rot90(SCENE, -1))


def test_an_orientation_in_a_text_of_a_png_is_ignored() -> None:
    """ImageMagick writes it there; browsers do not look for it."""
    hexadecimal = (PREFIX + exif_block(6)).hex()
    text = f"\nexif\n{len(hexadecimal) // 2:8}\n{hexadecimal}\n".encode()
    chunk = png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))

    assert agrees(png_file(SCENE, COLOUR, 8, before=[chunk]), SCENE)


# PNG


@pytest.mark.parametrize(
    "chunk",
    [
        with_bad_checksum(png_chunk(b"tEXt", b"a\0b")),
        with_bad_checksum(png_chunk(b"iCCP", b"a\0\0" + zlib.compress(b"x"))),
        png_chunk(b"iCCP", b"a\0\0no data"),
        png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(5_000_000))),
        png_chunk(b"bKGD", b"") + png_chunk(b"bKGD", bytes(7)),
        png_chunk(b"iTXt", b"note\0\0\0\0\0" + b"x" * 9_000_000),
        png_chunk(b"prVt", bytes(9_000_000)),
        png_chunk(b"acTL", bytes(8)),
        png_chunk(b"acTL", b"\xff" * 8) + png_chunk(b"fcTL", bytes(26)),
    ],
)
def test_damaged_metadata_of_a_png_are_ignored(chunk: bytes) -> None:
    assert agrees(png_file(SCENE, COLOUR, 8, before=[chunk]), SCENE)


def test_a_png_whose_rows_end_early_is_refused() -> None:
    """The chunks are whole, and so is the compression."""
    rows = png_rows(SCENE, 8, interlaced=False)

    for kept in (0, 1, len(rows) // 2, len(rows) - 1):
        data = png_file(SCENE, COLOUR, 8, data=zlib.compress(rows[:kept]))
        with pytest.raises(PictureUndecodable):
            decode_upright(data)


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_png_that_ends_behind_its_pixels_is_whole(*, interlaced: bool) -> None:
    """The last 12 bytes are IEND, in front of which are two checksums of four bytes each."""
    whole = png_file(SCENE, COLOUR, 8, interlaced=interlaced)
    two_chunks = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(two_chunks, "PNG")
    assert two_chunks.getvalue().count(b"IDAT") > 1

    for missing in range(1, 21):
        assert agrees(whole[:-missing], SCENE), missing
        assert agrees(two_chunks.getvalue()[:-missing], noise), missing
    for missing in (22, 30, 200):
        with pytest.raises(PictureUndecodable, match="the PNG file is truncated"):
            decode_upright(whole[:-missing])


def test_a_png_without_its_last_checksums_is_checked_otherwise() -> None:
    damaged = bytearray(png_file(SCENE, COLOUR, 8, piece=100))
    damaged[damaged.index(b"IDAT") + 50] ^= 1
    wrong = png_file(SCENE, COLOUR, 8, data=_with_wrong_checksum(SCENE))

    for missing in (0, 12, 13, 16):
        whole = slice(0, len(damaged) - missing)
        with pytest.raises(PictureUndecodable, match="the IDAT chunk at byte 33 has another check"):
            decode_upright(bytes(damaged[whole]))
    with pytest.raises(PictureUndecodable, match="the pixels of the PNG file have another checks"):
        decode_upright(wrong[:-13])


def _with_wrong_checksum(samples: np.ndarray) -> bytes:
    deflated = zlib.compress(png_rows(samples, 8, interlaced=False))
    return deflated[:-1] + bytes([deflated[-1] ^ 1])


@pytest.mark.parametrize("size", [1, 2, 5, 7])
def test_a_last_chunk_of_few_bytes_may_lack_its_checksum(size: int) -> None:
    deflated = zlib.compress(png_rows(SCENE, 8, interlaced=False))
    head = png_file(SCENE, COLOUR, 8, data=deflated[:-size])[:-12]
    whole = head + png_chunk(b"IDAT", deflated[-size:])

    for missing in range(5):
        assert agrees(whole[: len(whole) - missing], SCENE)


@pytest.mark.parametrize("missing", [0, 12, 14])
def test_a_png_that_inflates_to_far_more_than_its_size_is_refused(missing: int) -> None:
    """20 MB of it would take a minute."""
    packer = zlib.compressobj(9)
    first = packer.compress(bytes(10_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(10_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    bomb = first + block * 300 + b"\x03\0" + bytes(4)
    data = png_file(SCENE, COLOUR, 8, data=bomb, piece=8192)

    with pytest.raises(PictureUndecodable, match="more pixels than its header says"):
        decode_upright(data[: len(data) - missing])


def test_a_palette_that_is_not_used_may_be_damaged() -> None:
    palette = with_bad_checksum(png_chunk(b"PLTE", bytes(6)))

    assert agrees(png_file(SCENE, COLOUR, 8, before=[palette]), SCENE)


def test_a_png_with_damaged_pixels_is_refused() -> None:
    data = png_file(SCENE, COLOUR, 8)
    at = data.index(b"IDAT") + 100
    with pytest.raises(PictureUndecodable, match="IDAT chunk at byte 33 has another checksum"):
        decode_upright(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def test_a_colour_profile_of_another_kind_writes_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Libpng would, between the log lines of a service."""
    target = io.BytesIO()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(SCENE[..., 0]).save(target, "PNG", icc_profile=profile)

    assert agrees(target.getvalue(), np.repeat(SCENE[..., :1], 3, axis=2))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_hides_nothing(kind: str) -> None:
    """Also what is wholly transparent has the colour that is stored for it, as in Darknet."""
    opacity = np.arange(24 * 32, dtype=np.int64).reshape(24, 32, 1) % 256
    pixels = np.concatenate([SCENE, opacity], axis=2).astype(np.uint8)
    target = io.BytesIO()
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    Image.fromarray(pixels).save(target, kind, **options)

    assert agrees(target.getvalue(), SCENE)


def test_sixteen_bits_become_the_upper_eight() -> None:
    deep = np.random.default_rng(1).integers(0, 65_536, (24, 32, 4))

    assert agrees(png_file(deep, COLOUR_ALPHA, 16, interlaced=True), deep[..., :3] >> 8)


# WebP


def test_a_very_small_webp_is_decoded() -> None:
    """OpenCV refuses files of less than 32 bytes."""
    target = io.BytesIO()
    Image.new("RGB", (1, 1), (200, 100, 50)).save(target, "WEBP", lossless=True)

    assert agrees(target.getvalue(), np.array([[[200, 100, 50]]]))


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("missing", [3, 10, 0.1, 0.5])
def test_a_webp_whose_pixels_end_early_is_refused(missing: float, *, lossless: bool) -> None:
    """Also if the chunks are whole, and metadata follow that could pass for pixels."""
    target = io.BytesIO()
    picture = Image.fromarray(SCENE)
    picture.save(target, "WEBP", lossless=lossless, exif=exif_block(1) + bytes(500))
    size = {True: b"VP8L", False: b"VP8 "}[lossless]

    def cut(kind: bytes, content: bytes) -> tuple[bytes, bytes]:
        less = int(missing if missing >= 1 else missing * len(content))
        return kind, content[:-less] if kind == size else content

    with pytest.raises(PictureUndecodable):
        decode_upright(webp_file([cut(*chunk) for chunk in webp_chunks(target.getvalue())]))


def test_the_first_frame_of_an_animation_is_decoded_at_its_place() -> None:
    """It may be smaller than the canvas, around which there is nothing."""
    target = io.BytesIO()
    Image.fromarray(SCENE).save(target, "WEBP", lossless=True)
    ((kind, content),) = webp_chunks(target.getvalue())
    corner = (2).to_bytes(3, "little") + (3).to_bytes(3, "little")
    size = (31).to_bytes(3, "little") + (23).to_bytes(3, "little")
    frame = corner + size + (10).to_bytes(3, "little") + b"\0"
    frame += kind + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)
    canvas = b"\x02\0\0\0" + (39).to_bytes(3, "little") + (49).to_bytes(3, "little")
    data = webp_file([(b"VP8X", canvas), (b"ANIM", bytes(6)), (b"ANMF", frame)])
    expected = np.zeros((50, 40, 3), np.uint8)
    expected[6:30, 4:36] = SCENE

    assert agrees(data, expected)
    assert np.array_equal(pillow_pixels(data), expected)


# BMP


RED_FIRST = (0xFF, 0xFF00, 0xFF0000, 0)


@pytest.mark.parametrize("header_size", [40, 52, 56, 108, 124])
@pytest.mark.parametrize(
    "masks",
    [
        RED_FIRST,
        (0xFF000000, 0xFF0000, 0xFF00, 0xFF),
        (0xFF00, 0xFF0000, 0xFF000000, 0),
        (0x3FC00000, 0xFF000, 0x3FC, 0),
    ],
)
def test_a_bmp_has_its_colours_where_its_masks_say(
    masks: tuple[int, int, int, int], header_size: int
) -> None:
    rows = pack_words(SCENE[::-1], 32, masks)
    data = bmp_file(rows, (32, 24), 32, header_size=header_size, compression=3, masks=masks)

    assert agrees(data, SCENE)


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ((0xF800, 0x07E0, 0x001F, 0), (255, 125, 8)),
        ((0x7C00, 0x03E0, 0x001F, 0), (255, 123, 8)),
        ((0x001F, 0x07E0, 0xF800, 0), (255, 125, 8)),
        ((0x0F00, 0x00F0, 0x000F, 0xF000), (255, 119, 0)),
        ((0x0007, 0x0038, 0x00C0, 0), (255, 109, 0)),
        ((0x8000, 0x0000, 0x0001, 0), (255, 0, 0)),
    ],
)
def test_few_bits_are_scaled_to_255(
    masks: tuple[int, int, int, int], expected: tuple[int, int, int]
) -> None:
    """White is white; 31 of 63 is 125, 15 of 31 is 123, 1 of 31 is 8."""
    rows = pack_words(plain(3, 2, (255, 127, 12)), 16, masks)

    assert agrees(bmp_file(rows, (3, 2), 16, compression=3, masks=masks), plain(3, 2, expected))


@pytest.mark.parametrize("masks", [(0x5, 0xF0, 0xF00, 0), (0xF00F, 0xF0, 0xF00, 0)])
def test_masks_with_gaps_are_refused(masks: tuple[int, int, int, int]) -> None:
    with pytest.raises(PictureUndecodable, match="bits that do not adjoin"):
        decode_upright(bmp_file(bytes(4), (1, 1), 32, compression=3, masks=masks))


def test_masks_that_are_all_0_are_the_usual_ones() -> None:
    usual = (0xFF0000, 0xFF00, 0xFF, 0)
    rows = pack_words(SCENE[::-1], 32, usual)
    none = (0, 0, 0, 0)

    for header_size in (40, 56, 108, 124):
        data = bmp_file(rows, (32, 24), 32, header_size=header_size, compression=3, masks=none)
        assert agrees(data, SCENE)
    with pytest.raises(PictureUndecodable, match="16 bits per pixel and the masks 0x0, 0x0 and"):
        decode_upright(bmp_file(bytes(4), (1, 1), 16, compression=3, masks=none))


def test_masks_of_24_bits_must_be_the_usual_ones() -> None:
    usual = (0xFF0000, 0xFF00, 0xFF, 0)
    rows = SCENE[::-1, :, ::-1].tobytes()

    assert agrees(bmp_file(rows, (32, 24), 24, compression=3, masks=usual), SCENE)
    with pytest.raises(PictureUndecodable, match="24 bits per pixel and the masks 0xff, 0xff00"):
        decode_upright(bmp_file(rows, (32, 24), 24, compression=3, masks=RED_FIRST))


@pytest.mark.parametrize(
    ("bits", "compression", "header_size"),
    [(24, 4, 40), (0, 5, 40), (1, 3, 64), (24, 4, 64), (8, 2, 40), (4, 1, 40), (64, 0, 40)],
)
def test_other_compressions_and_depths_are_refused_by_name(
    bits: int, compression: int, header_size: int
) -> None:
    data = bmp_file(bytes(64), (2, 2), bits, compression=compression, header_size=header_size)

    with pytest.raises(PictureUndecodable, match=f"{bits} bits per pixel and compression"):
        read_header(data)


def test_a_colour_that_a_palette_lacks_is_black() -> None:
    rows = pack_indices(np.array([[0, 1, 2, 200]], np.uint8), 8)
    data = bmp_file(rows, (4, 1), 8, palette=[(1, 2, 3), (4, 5, 6)], colours=2)

    assert agrees(data, np.array([[[1, 2, 3], [4, 5, 6], [0, 0, 0], [0, 0, 0]]]))


def test_the_padding_of_a_bmps_last_row_may_be_missing() -> None:
    pixels = SCENE[:, :31]
    data = bmp_file(pad_rows(pixels[::-1, :, ::-1].reshape(24, -1)), (31, 24), 24)

    assert agrees(data[:-3], pixels)
    with pytest.raises(PictureUndecodable, match="truncated"):
        read_header(data[:-4])


def test_a_run_length_that_leaves_the_row_is_refused() -> None:
    data = bmp_file(b"\x09\1\0\0\0\1", (4, 1), 8, compression=1, palette=[(0, 0, 0)] * 256)

    with pytest.raises(PictureUndecodable):
        decode_upright(data)


def test_pixels_of_another_size_than_the_header_says_are_refused() -> None:
    """Boxes would be somewhere else."""
    target = io.BytesIO()
    Image.fromarray(SCENE).save(target, "WEBP", lossless=True, exif=exif_block(1))
    (kind, flags), *others = webp_chunks(target.getvalue())
    data = webp_file([(kind, flags[:4] + bytes([99, 0, 0, 99, 0, 0])), *others])

    with pytest.raises(PictureError):
        decode(data, read_header(data))


# The end of a file


@pytest.mark.parametrize("missing", [1, 4, 11, 12])
def test_a_png_with_all_pixels_may_lack_its_end(missing: int) -> None:
    assert agrees(encode(SCENE, "PNG")[:-missing], SCENE)


def test_a_png_that_lacks_its_last_idat_chunks_is_refused() -> None:
    whole = png_file(SCENE, COLOUR, 8, piece=200)
    ends = [at - 4 for at in range(len(whole)) if whole[at : at + 4] in (b"IDAT", b"IEND")]

    assert agrees(whole[: ends[-1]], SCENE)
    for end in ends[:-1]:
        with pytest.raises(PictureUndecodable):
            decode_upright(whole[:end])


def indexed(bits: int) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """Return numbers of colours, and their palette."""
    count = 1 << bits
    numbers = np.random.default_rng(2).integers(0, min(7, count), (24, 32), dtype=np.uint8)
    return numbers, [(one * 37 % 256, 255 - one % 256, one * 7 % 256) for one in range(count)]


@pytest.mark.parametrize("bits", [4, 8])
def test_a_run_length_file_may_lack_its_end_but_no_pixels(bits: int) -> None:
    numbers, palette = indexed(bits)
    rows = run_lengths(numbers, bits)
    kind = {8: 1, 4: 2}[bits]
    whole = bmp_file(rows[:-2], (32, 24), bits, compression=kind, palette=palette)

    assert agrees(whole, np.array(palette, np.uint8)[numbers])
    # The last two bytes end a row that is whole.
    for left in range(3, 100):
        with pytest.raises(PictureUndecodable, match="truncated: its run lengths end before"):
            decode_upright(whole[:-left])


@pytest.mark.parametrize("bits", [4, 8])
def test_run_lengths_that_lack_rows_are_truncated_whatever_size_the_header_states(
    bits: int,
) -> None:
    """The file ends between two rows, and its header says so."""
    numbers, palette = indexed(bits)
    kind = {8: 1, 4: 2}[bits]
    rows = run_lengths(numbers[3:], bits)[:-2]
    data = bmp_file(rows, (32, 24), bits, compression=kind, palette=palette)

    with pytest.raises(PictureUndecodable, match="truncated: its run lengths end before"):
        decode_upright(data)


def test_an_rle_file_with_an_end_may_skip_rows() -> None:
    """The format allows it: what is skipped has the first colour of the palette."""
    numbers, palette = indexed(8)
    numbers[:3] = 0
    data = bmp_file(run_lengths(numbers[3:], 8), (32, 24), 8, compression=1, palette=palette)

    assert agrees(data, np.array(palette, np.uint8)[numbers])


# Where the pixels of a BMP begin


@pytest.mark.parametrize("header_size", [12, 40, 108])
@pytest.mark.parametrize("bits", [4, 8, 24])
def test_the_pixels_of_a_bmp_follow_its_palette_if_it_does_not_say_where(
    bits: int, header_size: int
) -> None:
    if bits == 24:
        pixels, palette, rows = SCENE, [], pad_rows(SCENE[::-1, :, ::-1].reshape(24, -1))
    else:
        numbers, palette = indexed(bits)
        pixels, rows = np.array(palette, np.uint8)[numbers], pack_indices(numbers[::-1], bits)
    data = bmp_file(rows, (32, 24), bits, header_size=header_size, palette=palette)

    assert agrees(data, pixels)
    assert agrees(data[:10] + bytes(4) + data[14:], pixels)


@pytest.mark.parametrize("compression", [3, 6])
def test_masks_are_no_pixels_either(compression: int) -> None:
    masks = (0xF800, 0x07E0, 0x001F, 0)
    rows = pack_words(SCENE[::-1], 16, masks)
    data = bmp_file(rows, (32, 24), 16, compression=compression, masks=masks)

    assert agrees(data[:10] + bytes(4) + data[14:], decode_upright(data))


@pytest.mark.parametrize("at", [1, 14, 53])
def test_pixels_inside_the_headers_are_refused(at: int) -> None:
    data = encode(SCENE, "BMP")

    with pytest.raises(PictureUndecodable, match=f"at byte {at}, inside its headers"):
        decode_upright(data[:10] + at.to_bytes(4, "little") + data[14:])
