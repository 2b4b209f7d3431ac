"""Ways to damage the model folder of tests/support/tiny.py; tests/detector/damages.py uses them."""

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
    """The .cfg says something else."""
    return lambda folder: (folder / "tiny.cfg").write_text(text)


def option(old: str, new: str) -> Damage:
    """One option of the .cfg says something else."""
    assert old in TINY
    return cfg(TINY.replace(old, new))


def layers(text: str) -> Damage:
    """There are other layers before the head."""
    return cfg(TINY.replace(HEAD, text + HEAD))


def manifest(text: str) -> Damage:
    """The folder has a model.yaml."""
    return lambda folder: (folder / "model.yaml").write_text(text)


def content(name: str, data: bytes) -> Damage:
    """A file holds something else."""
    return lambda folder: (folder / name).write_bytes(data)


def sparse(name: str, size: int) -> Damage:
    """A file is long and takes no room on the disk."""

    def damage(folder: Path) -> None:
        with (folder / name).open("wb") as file:
            file.truncate(size)

    return damage


def fifo(name: str) -> Damage:
    """A file is a pipe that nobody writes to."""

    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return damage


def link(name: str, target: str) -> Damage:
    """A file is a link."""

    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return damage


def directory(name: str) -> Damage:
    """A file is a directory."""

    def damage(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return damage


def both(*damages: Damage) -> Damage:
    """More than one thing has happened."""

    def damage(folder: Path) -> None:
        for one in damages:
            one(folder)

    return damage


def byteswapped(folder: Path) -> None:
    """Written on a machine of the other byte order."""
    path = folder / "tiny.weights"
    path.write_bytes(np.frombuffer(path.read_bytes(), "<u4").byteswap().tobytes())


def swapped(folder: Path) -> None:
    """Each of two files has the name of the other."""
    one, other = folder / "tiny.cfg", folder / "tiny.weights"
    one.rename(folder / "x")
    other.rename(one)
    (folder / "x").rename(other)


def truncated(folder: Path) -> None:
    """A copy that was interrupted."""
    path = folder / "tiny.weights"
    path.write_bytes(path.read_bytes()[:-10])


def values(*changes: tuple[int, float]) -> Damage:
    """Some floats of the .weights file, of a network with batch normalisation, are others."""

    def damage(folder: Path) -> None:
        cfg(NORMALISED)(folder)
        floats = np.ones(7 * 4 + 7 * 3, np.float32)
        for place, value in changes:
            floats[place] = value
        write_weights(folder / "tiny.weights", floats)

    return damage


def large(folder: Path) -> None:
    """A file of 226 MB whose last float is NaN."""
    cfg(LARGE)(folder)
    with (folder / "tiny.weights").open("wb") as file:
        file.write(np.array([0, 2, 0, 0, 0], "<i4").tobytes())
        file.truncate(20 + 4 * LARGE_FLOATS)
        file.seek(-4, os.SEEK_END)
        file.write(np.array([np.nan], "<f4").tobytes())


def doubling(count: int) -> str:
    """YAML in which each line holds the one before ten times."""
    lines = ["a0: &a0 x"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, count)]
    return "\n".join(lines)
