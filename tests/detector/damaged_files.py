"""Damaged model folders: how to damage the folder of tests/support/tiny.py, and the error expected.

`DAMAGES` maps a description to the damage, a function of the folder, and a pattern of the message.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.support.tiny import CFG, write_weights

Damage = Callable[[Path], object]

TINY = CFG.format(width=32, height=32)
HEAD = "[yolo]\nmask=0\nanchors=16,8\nclasses=2\nnum=1\n"
NET = TINY[: TINY.index("[convolutional]")]
NORMALISED = TINY.replace("size=1", "size=1\nbatch_normalize=1")
# 57 million parameters, 226 MB, as many as yolov3 has.
LARGE = (
    NET
    + "[convolutional]\nfilters=1024\nstride=32\nactivation=leaky\n"
    + "[convolutional]\nfilters=1024\nsize=3\npad=1\nactivation=leaky\n" * 6
    + "[convolutional]\nfilters=7\nactivation=linear\n"
    + HEAD
)
LARGE_FLOATS = 1024 * 3 + 1024 + 6 * (1024 * 1024 * 9 + 1024) + 1024 * 7 + 7
MANIFEST = "name: mine\ngolden:\n  picture: a.png\n  expected: [[cat, 0.9, [1, 2, 3, 4]]]\n"


def cfg(text: str) -> Damage:
    """Replace the .cfg."""
    return lambda folder: (folder / "tiny.cfg").write_text(text)


def option(old: str, new: str) -> Damage:
    """Replace a part of the .cfg."""
    assert old in TINY
    return cfg(TINY.replace(old, new))


def layers(text: str) -> Damage:
    """Insert layers before the head."""
    return cfg(TINY.replace(HEAD, text + HEAD))


def manifest(text: str) -> Damage:
    """Write a model.yaml."""
    return lambda folder: (folder / "model.yaml").write_text(text)


def content(name: str, data: bytes) -> Damage:
    """Replace the content of a file."""
    return lambda folder: (folder / name).write_bytes(data)


def sparse(name: str, size: int) -> Damage:
    """Replace a file by a sparse file of `size` bytes."""

    def damage(folder: Path) -> None:
        with (folder / name).open("wb") as file:
            file.truncate(size)

    return damage


def fifo(name: str) -> Damage:
    """Replace a file by a FIFO without a writer."""

    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return damage


def link(name: str, target: str) -> Damage:
    """Replace a file by a symbolic link."""

    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return damage


def directory(name: str) -> Damage:
    """Replace a file by a directory."""

    def damage(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return damage


def both(*damages: Damage) -> Damage:
    """Apply several damages."""

    def damage(folder: Path) -> None:
        for one in damages:
            one(folder)

    return damage


def byteswapped(folder: Path) -> None:
    """Swap the byte order of the .weights file."""
    path = folder / "tiny.weights"
    path.write_bytes(np.frombuffer(path.read_bytes(), "<u4").byteswap().tobytes())


def swapped(folder: Path) -> None:
    """Swap the .cfg and the .weights file."""
    one, other = folder / "tiny.cfg", folder / "tiny.weights"
    one.rename(folder / "x")
    other.rename(one)
    (folder / "x").rename(other)


def truncated(folder: Path) -> None:
    """Cut off the last 10 bytes of the .weights file."""
    path = folder / "tiny.weights"
    path.write_bytes(path.read_bytes()[:-10])


def values(*changes: tuple[int, float]) -> Damage:
    """Change floats, given as (index, value), in the weights of a network with batch norm."""

    def damage(folder: Path) -> None:
        cfg(NORMALISED)(folder)
        floats = np.ones(7 * 4 + 7 * 3, np.float32)
        for place, value in changes:
            floats[place] = value
        write_weights(folder / "tiny.weights", floats)

    return damage


def large(folder: Path) -> None:
    """Write a .weights file of 226 MB whose last float is NaN."""
    cfg(LARGE)(folder)
    with (folder / "tiny.weights").open("wb") as file:
        file.write(np.array([0, 2, 0, 0, 0], "<i4").tobytes())
        file.truncate(20 + 4 * LARGE_FLOATS)
        file.seek(-4, os.SEEK_END)
        file.write(np.array([np.nan], "<f4").tobytes())


def doubling(count: int) -> str:
    """Return YAML in which each line contains the previous one ten times."""
    lines = ["a0: &a0 x"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, count)]
    return "\n".join(lines)


DAMAGES: dict[str, tuple[Damage, str]] = {
    # Special files, and files that are too large.
    "cfg of 250 MB": (sparse("tiny.cfg", 250_000_000), r"250,000,000 bytes: expected at most"),
    "cfg of 100 GB": (sparse("tiny.cfg", 10**11), r"tiny\.cfg: 100,000,000,000 bytes: expected"),
    "names of 100 GB": (sparse("tiny.names", 10**11), r"tiny\.names: 100,000,000,000 bytes"),
    "yaml of 100 GB": (sparse("model.yaml", 10**11), r"model\.yaml: 100,000,000,000 bytes"),
    "weights of 100 GB": (sparse("tiny.weights", 10**11), r"too long for tiny\.cfg: 24,999,999,"),
    "cfg of zeros": (sparse("tiny.cfg", 1000), r"not a text file \(byte 0 is zero\): is it the"),
    "cfg is a pipe": (fifo("tiny.cfg"), r"tiny\.cfg: not a regular file"),
    "names are a pipe": (fifo("tiny.names"), r"tiny\.names: not a regular file"),
    "weights are a pipe": (fifo("tiny.weights"), r"tiny\.weights: not a regular file"),
    "yaml is a pipe": (fifo("model.yaml"), r"model\.yaml: not a regular file"),
    "cfg is a device": (link("tiny.cfg", "/dev/zero"), r"tiny\.cfg: not a regular file"),
    "weights are a device": (link("tiny.weights", "/dev/zero"), r"weights: not a regular file"),
    "cfg is a directory": (directory("tiny.cfg"), r"tiny\.cfg: not a regular file"),
    "cfg leads nowhere": (link("tiny.cfg", "gone"), r"cannot be read: No such file"),
    "yaml leads nowhere": (link("model.yaml", "gone"), r"cannot be read: No such file"),
    "weights lead to themselves": (link("tiny.weights", "tiny.weights"), r"cannot be read: Too"),
    "weights are a file without size": (
        link("tiny.weights", "/proc/self/maps"),
        r"0 bytes are|tex",
    ),
    # Swapped and truncated files.
    "cfg and weights swapped": (swapped, r"not a text file .*: is it the \.weights file\?"),
    "weights are the cfg": (content("tiny.weights", TINY.encode()), r"text that begins with"),
    "weights are a web page": (
        content("tiny.weights", b"<!DOCTYPE html><html>..."),
        r"an HTML page",
    ),
    "weights are empty": (content("tiny.weights", b""), r"0 bytes are too few"),
    "truncated": (truncated, r"weights: 102 bytes after the header, not a multiple of 4"),
    "of the other byte order": (byteswapped, r"the byte order is big-endian"),
    # Invalid values.
    "NaN everywhere": (values(*((i, np.nan) for i in range(49))), r"layer 0 .*holds biases that"),
    "an infinite filter": (values((40, np.inf)), r"layer 0 \[conv.*\(line 7 .*holds filters that"),
    "a negative variance": (values((21, -0.5)), r"layer 0 .*a negative rolling variance, -0\.5"),
    "a scale that overflows": (values((7, 3e37), (21, 0), (28, 10)), r"layer 0 .*overflows when"),
    "a mean that overflows": (values((14, 3e38), (7, 1e3)), r"layer 0 .*overflows when its batch"),
    "226 MB and NaN at the end": (large, r"layer 7 .*holds filters that are not finite"),
    # Numbers that would need much memory or time.
    "filters": (option("filters=7", "filters=2000000000"), r"at most|filters in the layer before"),
    "width": (option("width=32", "width=2000000000"), r"\[net\] would output 3x32x2000000000"),
    "classes": (option("classes=2", "classes=2000000000"), r"2000000005 filters in the layer"),
    "anchors of a number": (
        option("mask=0\nanchors=16,8\nclasses=2\nnum=1", "anchors=16,8\nnum=2000000000"),
        r"anchors=16,8: expected 4000000000 numbers for num=2000000000, found 2",
    ),
    "a number of 800,000 digits": (option("=7", "=" + "7" * 800_000), r"=7{60}\.\.\.: expected a"),
    "a number beyond 32 bits": (option("=7", "=4294967303"), r"4294967303: expected a whole"),
    "a number only Python reads": (option("=7", "=0_7"), r"filters=0_7: expected a positive"),
    "digits of another script": (option("=7", "=\u0667"), r"expected a whole number"),
    "an infinite anchor": (option("16,8", "16,1e999"), r"anchors=16,1e999: expected numbers sep"),
    "a negative anchor": (option("16,8", "16,-8"), r"anchors=16,-8: expected sizes above 0"),
    "300,000 anchors": (option("16,8", "16,8," * 150_000), r"expected at most 1,000 numbers"),
    "250,000 sections": (cfg("[net]\n" + "[a]\n" * 250_000), r"cfg:1001: expected at most 1,000"),
    "a section named in control characters": (
        cfg(NET + "[" + "\x01" * 5000 + "]\n"),
        r"^tiny\.cfg:7: \[(\\x01){10,}.* \.\.\. .*, yolo$",
    ),
    "130,000 options": (
        cfg("[net]\n" + "\n".join(f"{i:x}=" for i in range(130_000))),
        r"tiny\.cfg:1: no layers after \[net\]",
    ),
    "an upsampling without end": (layers("[upsample]\nstride=1000\n" * 50), r"would output 7x"),
    "a route of one layer 1,000 times": (
        layers("[route]\nlayers=" + ",".join(["0"] * 1000) + "\n[maxpool]\n" * 900),
        r"7000 filters|filters in the layer before, found 7000",
    ),
    "routes that double": (
        layers("[route]\nlayers=-1,-1\n" * 60),
        r"brings the total to|would output",
    ),
    "50,000 sources": (
        layers(("[shortcut]\nfrom=" + ",".join(["-1"] * 900) + "\n") * 55),
        r"layer 12 brings the total to 10,8\d\d sources of layers: expected at most 10,000",
    ),
    "2 GB of parameters": (
        layers("[convolutional]\nfilters=100000\n[convolutional]\nfilters=7\n" * 400),
        r"brings the total to 50\d,\d\d\d,\d\d\d parameters: expected at most 500,000,000",
    ),
    "outputs that are all kept": (
        cfg(
            TINY.replace("=32\nheight=32", "=2048\nheight=2048").replace("stride=32\n", "")
            + "[convolutional]\nfilters=7\n" * 40
            + f"[shortcut]\nfrom={','.join(str(i) for i in range(40))}\n"
        ),
        r"layer 36 brings the total to 1,\d\d\d,\d\d\d,\d\d\d values in memory: expected at most",
    ),
    "a window over everything": (
        cfg(
            TINY.replace("=32\nheight=32", "=4096\nheight=4096").replace("stride=32\n", "")
            + "[maxpool]\nsize=4096\nstride=1\n"
        ),
        r"layer 2 brings the total to [\d,]{15,} operations for a picture: expected at most",
    ),
    "no convolution": (
        cfg(NET + "[maxpool]\nsize=1\n[route]\nlayers=0,0\n[yolo]\nclasses=1\nanchors=1,1\n"),
        r"no \[convolutional\] layer",
    ),
    # Labels.
    "labels in another encoding": (
        content("tiny.names", b"\xe9t\xe9\nx\n"),
        r"byte 0 is not UTF-8",
    ),
    "labels with a zero": (content("tiny.names", b"a\0b\nx\n"), r"names: not a text file"),
    "an escape sequence": (content("tiny.names", b"\x1b[2Jcat\nx\n"), r"expected at most 200 pri"),
    "a label without end": (
        content("tiny.names", b"x\n" + b"y" * 900_000),
        r"expected at most 200",
    ),
    # model.yaml.
    "references that multiply": (manifest(doubling(30)), r"model\.yaml:2: not valid YAML"),
    "a reference to itself": (manifest("files: &a {x: *a}"), r"model\.yaml:1: not valid YAML"),
    "depth": (manifest("[" * 30_000), r"model\.yaml:1: not valid YAML"),
    "depth of lines": (
        manifest("".join(" " * i + "a:\n" for i in range(200))),
        r"model\.yaml:6: not valid YAML",
    ),
    "a tag that runs code": (
        manifest("name: !!python/object/apply:os.system ['touch /tmp/x']"),
        r"model\.yaml: name: Input should be a valid string",
    ),
    "a date that is none": (manifest("name: 2020-99-99\nthreshold: 2"), r"threshold: Input should"),
    "a number in base 60": (
        manifest("version: " + "1:" * 15_000 + "1"),
        r"version: expected at most",
    ),
    "a number without digits": (manifest("iou: 0x_"), r"model\.yaml: iou: expected a number, such"),
    "a number that is none": (manifest("iou: .nan"), r"iou: expected a number, such as 0\.5"),
    "a letter that is none": (manifest('name: "\\UFFFFFFFF"'), r"model\.yaml: not valid YAML"),
    "half a letter": (manifest('"\\ud800": x'), r"yaml: .* unable to parse raw data as a unicode"),
    "a version without end": (manifest(f"%YAML 1.{'9' * 5000}\n---\n{{}}"), r"not valid YAML"),
    "6,000 wrong fields": (manifest("".join(f"{i:x}:\n" for i in range(6_000))), r"unknown field"),
    "10,000 wrong objects": (
        manifest(MANIFEST.replace("[[cat", "[" + "[]," * 10_000 + "[cat")),
        r"golden\.expected\.0\.0: Field required",
    ),
    "a list for a map": (
        manifest("- a\n- b\n"),
        r"model\.yaml: the whole file: expected a map of names and values",
    ),
    "a digest of another folder's file": (
        manifest(f"files: {{../../etc/passwd: 'sha256:{'0' * 64}'}}"),
        r"model\.yaml: files\.\.\./\.\./etc/passwd.*String should match",
    ),
    "a picture of another folder": (
        manifest(MANIFEST.replace("a.png", "/etc/passwd")),
        r"model\.yaml: golden\.picture: String should match",
    ),
    "a missing picture": (
        manifest(MANIFEST),
        r"model\.yaml names a\.png, which does not",
    ),
    "a picture of 100 GB": (
        both(manifest(MANIFEST), sparse("a.png", 10**11)),
        r"a\.png: 100,000,000,000 bytes: expected at most",
    ),
}
