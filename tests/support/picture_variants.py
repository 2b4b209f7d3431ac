"""Generate picture files of many kinds, sound and damaged, with the pixels that they stand for."""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from tests.support.bmp_files import (
    Masks,
    bmp_file,
    pack_indices,
    pack_words,
    pad_rows,
    run_lengths,
    stored_value,
)
from tests.support.exif_blocks import INTEGER_TYPES, PREFIX, exif_block
from tests.support.jpeg_files import END, insert_segment, scan_starts, segments_end
from tests.support.pictures import png_chunk, store_turned
from tests.support.png_files import (
    CHANNELS,
    COLOUR,
    COLOUR_ALPHA,
    GREY,
    GREY_ALPHA,
    PALETTE,
    png_file,
    with_bad_checksum,
)
from tests.support.webp_files import webp_chunks, webp_file

Dice = np.random.Generator
# Decoders round differently when they turn CMYK into RGB.
_CMYK_TOLERANCE = 2


@dataclass(frozen=True)
class Variant:
    """A file, and the upright (h, w, 3) uint8 RGB pixels that it stands for."""

    name: str
    data: bytes
    pixels: np.ndarray
    tolerance: int = 0
    is_cut: bool = False
    """Whether a part of the pixels is missing, so that the file must be refused."""


def variant(number: int) -> Variant:
    """Return one of endlessly many files; the same number gives the same one."""
    dice = np.random.default_rng(number)
    kind = (_jpeg, _png, _webp, _bmp)[number % 4]
    made = kind(dice)
    return replace(made, name=f"{number} {made.name}")


def pillow_pixels(data: bytes) -> np.ndarray:
    """Return the stored pixels as Pillow decodes them, without transparency."""
    picture = Image.open(io.BytesIO(data))
    with warnings.catch_warnings():
        # Pillow warns of transparency in a palette.
        warnings.simplefilter("ignore")
        return np.asarray(picture.convert("RGB"))


def _scene(dice: Dice, largest: int = 48) -> np.ndarray:
    """Return (h, w, 3) uint8 pixels: a gradient with noise and a rectangle."""
    height, width = dice.integers(1, largest, 2)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / dice.integers(3, 20)) + np.cos(y / dice.integers(3, 20)) for _ in range(3)]
    pixels = 127 + 50 * np.stack(waves, axis=2) + dice.normal(0, 8, (height, width, 3))
    pixels[: height // 2, : width // 2] = dice.integers(0, 256, 3)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return stored pixels upright: the orientations 6 and 8 undo each other."""
    return store_turned(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def _orientation(dice: Dice) -> tuple[int, bytes]:
    """Return an orientation and its Exif block, of any type and byte order."""
    orientation = int(dice.integers(1, 9))
    kind = int(dice.choice(list(INTEGER_TYPES)))
    return orientation, exif_block(orientation, kind, str(dice.choice([">", "<"])))


def _save(picture: Image.Image, kind: str, **options: object) -> bytes:
    target = io.BytesIO()
    picture.save(target, kind, **options)
    return target.getvalue()


def _jpeg(dice: Dice) -> Variant:
    mode = str(dice.choice(["RGB", "RGB", "L", "CMYK"]))
    options: dict[str, object] = {
        "quality": int(dice.integers(20, 98)),
        "progressive": bool(dice.integers(2)),
        "subsampling": int(dice.integers(3)),
        "restart_marker_blocks": int(dice.choice([0, 0, 1, 3])),
    }
    data = _save(Image.fromarray(_scene(dice)).convert(mode), "JPEG", **options)
    orientation, block = _orientation(dice)
    pixels = _turn(pillow_pixels(data), orientation)
    data = insert_segment(data, 0xE1, PREFIX + block)
    fault = str(dice.choice(list(_JPEG_FAULTS)))
    changed = _JPEG_FAULTS[fault](data, dice)
    name = f"JPEG {mode} {options} {orientation} {fault}"
    tolerance = _CMYK_TOLERANCE if mode == "CMYK" else 0
    return Variant(name, changed, pixels, tolerance, is_cut=fault.startswith("cut"))


def _stray_bytes(data: bytes, dice: Dice) -> bytes:
    at = int(dice.choice(segments_end(data)[1:]))
    return data[:at] + bytes(int(dice.integers(1, 9))) + data[at:]


def _cut_scan(data: bytes, dice: Dice) -> bytes:
    """Return a file without the second half of a scan and what follows it.

    Of the very last bytes, some may hold bits that only fill the last byte.
    """
    start = int(dice.choice(scan_starts(data)))
    end = len(data) - len(END)
    cut = data[: min(start + int((end - start) * dice.uniform(0, 0.5)), end - 1)]
    return cut.rstrip(b"\xff")


_JPEG_FAULTS: dict[str, Callable[[bytes, Dice], bytes]] = {
    "none": lambda data, _: data,
    "stray bytes": _stray_bytes,
    "fill bytes": lambda data, _: data[:2] + b"\xff" * 7 + data[2:],
    "no end": lambda data, _: data[: -len(END)],
    "trailer": lambda data, _: data + b"some more",
    "another behind it": lambda data, _: data + data,
    "another, and no end": lambda data, _: data[: -len(END)] + data,
    "unknown JFIF": lambda data, _: data.replace(b"JFIF\0\1", b"JFIF\0\7"),
    "padding": lambda data, _: data[: -len(END)] + bytes(5) + END,
    "comment": lambda data, _: insert_segment(data, 0xFE, b"\xff\xd9\xff\xd8"),
    "cut": _cut_scan,
    "cut and ended": lambda data, dice: _cut_scan(data, dice) + END,
    "cut, stray bytes": lambda data, dice: _stray_bytes(_cut_scan(data, dice), dice) + END,
    "cut, unknown JFIF": lambda data, dice: (
        _cut_scan(data, dice).replace(b"JFIF\0\1", b"JFIF\0\7") + END
    ),
}


def _png(dice: Dice) -> Variant:
    colour_type = int(dice.choice(list(CHANNELS)))
    depths = {GREY: [1, 2, 4, 8, 16], PALETTE: [1, 2, 4, 8]}.get(colour_type, [8, 16])
    depth = int(dice.choice(depths))
    scene = _scene(dice)
    palette = dice.integers(0, 256, (1 << min(depth, 8), 3), dtype=np.uint8)
    shape = (*scene.shape[:2], CHANNELS[colour_type])
    samples = dice.integers(0, 1 << depth, shape)
    if depth >= 8 and colour_type in (COLOUR, COLOUR_ALPHA):
        samples[..., :3] = scene.astype(int) * (257 if depth == 16 else 1)
    orientation, block = _orientation(dice)
    if dice.integers(2):
        block = PREFIX + block
    before = [png_chunk(b"eXIf", block)]
    if colour_type == PALETTE:
        before.append(png_chunk(b"PLTE", palette.tobytes()))
    if dice.integers(2) and colour_type in (GREY, PALETTE, COLOUR):
        before.append(
            png_chunk(b"tRNS", bytes({GREY: 2, PALETTE: len(palette)}.get(colour_type, 6)))
        )
    fault = str(dice.choice(list(_PNG_CHUNKS) + _PNG_CUTS))
    before += _PNG_CHUNKS.get(fault, [])
    interlaced = bool(dice.integers(2))
    piece = int(dice.choice([7, 1 << 20]))
    data = png_file(samples, colour_type, depth, interlaced=interlaced, before=before, piece=piece)
    pixels = _turn(_png_pixels(samples, colour_type, depth, palette), orientation)
    name = f"PNG type {colour_type} depth {depth} interlaced {interlaced} {orientation} {fault}"
    if fault in _PNG_CUTS:
        return Variant(name, _cut_png(data, fault, dice), pixels, is_cut=True)
    return Variant(name, data, pixels)


def _png_pixels(
    samples: np.ndarray, colour_type: int, depth: int, palette: np.ndarray
) -> np.ndarray:
    """Return 8 bits of each colour: of 16 the upper ones, fewer scaled to 255."""
    if colour_type == PALETTE:
        return palette[samples[..., 0]]
    colours = 1 if colour_type in (GREY, GREY_ALPHA) else 3
    values = samples[..., :colours]
    values = values >> 8 if depth == 16 else values * (255 // ((1 << depth) - 1))
    return np.repeat(values, 3 // colours, axis=2).astype(np.uint8)


def _cut_png(data: bytes, fault: str, dice: Dice) -> bytes:
    if fault == "cut":
        return data[: int(dice.integers(30, len(data) - 1))]
    # The compressed data end early, and the chunks are whole.
    at = data.index(b"IDAT") - 4
    return data[:at] + png_chunk(b"IDAT", zlib.compress(b"")) + png_chunk(b"IEND", b"")


_TEXT = png_chunk(b"tEXt", b"key\0text")
_PNG_CHUNKS = {
    "none": [],
    "text": [_TEXT],
    "bad checksum of a text": [with_bad_checksum(_TEXT)],
    "bad checksum of a profile": [with_bad_checksum(png_chunk(b"iCCP", b"x\0\0" + bytes(9)))],
    "no profile": [png_chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile"))],
    "2 MB of text": [png_chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(2_000_000)))],
    "gamma": [png_chunk(b"gAMA", b"\0\0\0\1")],
    "short chromaticities": [png_chunk(b"cHRM", b"x")],
    "no animation": [png_chunk(b"acTL", bytes(8))],
    "unknown chunk": [png_chunk(b"unKn", b"x")],
}
_PNG_CUTS = ["cut", "empty data"]


def _webp(dice: Dice) -> Variant:
    scene = _scene(dice)
    mode = str(dice.choice(["RGB", "RGBA"]))
    picture = Image.fromarray(scene).convert(mode)
    if mode == "RGBA":
        opacity = dice.integers(0, 256, scene.shape[:2], dtype=np.uint8)
        picture.putalpha(Image.fromarray(opacity))
    options: dict[str, object] = {
        "lossless": bool(dice.integers(2)),
        "exact": bool(dice.integers(2)),
        "quality": int(dice.integers(20, 98)),
    }
    orientation, block = _orientation(dice)
    if dice.integers(2):
        block = PREFIX + block
    animated = bool(dice.integers(3) == 0)
    if animated:
        options |= {"save_all": True, "append_images": [picture.rotate(180)], "duration": 20}
    data = _save(picture, "WEBP", exif=block, **options)
    pixels = _turn(pillow_pixels(data), orientation)
    fault = str(dice.choice(["none", "none", "trailer", "unknown chunk", "cut", "cut inside"]))
    name = f"WebP {mode} lossless {options['lossless']} animated {animated} {orientation} {fault}"
    match fault:
        case "trailer":
            data += b"some more"
        case "unknown chunk":
            data = webp_file([*webp_chunks(data), (b"unkn", b"abc")])
        case "cut":
            data = data[: int(dice.integers(20, len(data) - 1))]
        case "cut inside":
            data = webp_file([_cut_webp_chunk(*chunk) for chunk in webp_chunks(data)])
    return Variant(name, data, pixels, is_cut=fault.startswith("cut"))


def _cut_webp_chunk(kind: bytes, content: bytes) -> tuple[bytes, bytes]:
    is_picture = kind in (b"VP8 ", b"VP8L", b"ANMF", b"ALPH")
    return kind, content[: len(content) // 2] if is_picture else content


def _bmp(dice: Dice) -> Variant:
    kind = str(dice.choice(["palette", "palette", "words", "words", "colour", "runs"]))
    made = {"palette": _bmp_palette, "words": _bmp_words, "colour": _bmp_colour, "runs": _bmp_runs}
    whole = made[kind](dice)
    if dice.integers(5) or len(whole.pixels) < 3:
        return whole
    at = int.from_bytes(whole.data[10:14], "little")
    cut = whole.data[: at + (len(whole.data) - at) // 2]
    return replace(whole, name=f"{whole.name} cut", data=cut, is_cut=True)


def _bmp_palette(dice: Dice) -> Variant:
    bits = int(dice.choice([1, 2, 4, 8]))
    header_size = int(dice.choice([12, 16, 40, 52, 56, 64, 108, 124]))
    is_short = header_size > 16 and bool(dice.integers(2))
    count = int(dice.integers(1, (1 << bits) + 1)) if is_short else 1 << bits
    palette = dice.integers(0, 256, (count, 3), dtype=np.uint8)
    height, width = (int(size) for size in dice.integers(1, 48, 2))
    indices = dice.integers(0, count, (height, width), dtype=np.uint8)
    top_down = header_size != 12 and bool(dice.integers(2))
    rows = pack_indices(indices if top_down else indices[::-1], bits)
    data = bmp_file(
        rows,
        (width, -height if top_down else height),
        bits,
        header_size=header_size,
        palette=[tuple(colour) for colour in palette.tolist()],
        colours=count if is_short else 0,
        gap=int(dice.choice([0, 2])),
    )
    return Variant(f"BMP {bits} bits, header {header_size}, {count}", data, palette[indices])


def _bmp_words(dice: Dice) -> Variant:
    bits = int(dice.choice([16, 32]))
    masks = _masks(dice, bits)
    header_size = int(dice.choice([40, 52, 56, 108, 124]))
    compression = int(dice.choice([3, 6])) if masks[3] else 3
    if header_size in (40, 52) and masks[3] and compression == 3:
        masks = (*masks[:3], 0)
    if header_size == 52 or not masks[3]:
        compression = 3
    scene = _scene(dice)
    height, width = scene.shape[:2]
    top_down = bool(dice.integers(2))
    alpha = int(dice.integers(0, 256))
    rows = pack_words(scene if top_down else scene[::-1], bits, masks, alpha)
    data = bmp_file(
        rows,
        (width, -height if top_down else height),
        bits,
        header_size=header_size,
        compression=compression,
        masks=masks,
    )
    shown = ",".join(f"{mask:x}" for mask in masks)
    return Variant(
        f"BMP {bits} bits {shown}, header {header_size}", data, stored_value(scene, masks)
    )


def _masks(dice: Dice, bits: int) -> Masks:
    """Return masks of any size in any order; alpha may be missing."""
    sizes = dice.integers(1, bits // 4 + 1, 4)
    order = dice.permutation(4)
    masks = [0, 0, 0, 0]
    at = 0
    for channel in order:
        masks[channel] = ((1 << int(sizes[channel])) - 1) << at
        at += int(sizes[channel])
    if dice.integers(2):
        masks[3] = 0
    red, green, blue, alpha = masks
    return red, green, blue, alpha


def _bmp_colour(dice: Dice) -> Variant:
    """Return 24 bits, or 16 or 32 of which the header says nothing."""
    scene = _scene(dice)
    height, width = scene.shape[:2]
    bits = int(dice.choice([16, 24, 32]))
    header_size = int(dice.choice([12, 16, 40, 64, 108, 124] if bits == 24 else [40, 108, 124]))
    top_down = header_size != 12 and bool(dice.integers(2))
    stored = scene if top_down else scene[::-1]
    masks: Masks = (0xFF0000, 0xFF00, 0xFF, 0)
    if bits == 24:
        rows = pad_rows(stored[..., ::-1].reshape(height, -1))
    else:
        masks = masks if bits == 32 else (0x7C00, 0x3E0, 0x1F, 0)
        rows = pack_words(stored, bits, masks)
    size = (width, -height if top_down else height)
    data = bmp_file(rows, size, bits, header_size=header_size)
    if dice.integers(2) and bits == 24 and 3 * width % 4:
        data = data[: -(-3 * width % 4)]
    return Variant(f"BMP {bits} bits, header {header_size}", data, stored_value(scene, masks))


def _bmp_runs(dice: Dice) -> Variant:
    bits = int(dice.choice([4, 8]))
    palette = dice.integers(0, 256, (1 << bits, 3), dtype=np.uint8)
    height, width = (int(size) for size in dice.integers(1, 48, 2))
    indices = dice.integers(0, 3, (height, width), dtype=np.uint8)
    header_size = int(dice.choice([40, 64, 108, 124]))
    data = bmp_file(
        run_lengths(indices, bits),
        (width, height),
        bits,
        header_size=header_size,
        compression={8: 1, 4: 2}[bits],
        palette=[tuple(colour) for colour in palette.tolist()],
    )
    return Variant(f"BMP RLE{bits}, header {header_size}", data, palette[indices])
