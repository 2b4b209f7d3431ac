"""[shortcut] between maps of different sizes: pjreddie's shortcut_cpu, and its library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elastic_yolo.detector.engines.choose import EngineOptions, build_engine
from elastic_yolo.detector.engines.libdarknet import find_libdarknet
from elastic_yolo.detector.model import Model, read_model
from tests.support.tiny import write_weights

CHANNELS = 8
EXPOSE = "[yolo]\nclasses=3\nnum=1\nanchors=5,5\n"
# Every head's input is a map: that of the source, that before the shortcut, and their sum.
CFG = """[net]
width={width}
height={height}
channels=3
[convolutional]
filters=8
size=3
pad=1
activation=linear
{source}
{expose}
[route]
layers=-2
{previous}
{expose}
[route]
layers=-2
[shortcut]
from=1
activation={activation}
{expose}
"""
CONV = "[convolutional]\nfilters=8\nsize=1\nactivation=linear"


def pool(stride: int, size: int = 1) -> str:
    return f"[maxpool]\nsize={size}\nstride={stride}\npadding=0"


def write(folder: Path, source: str, previous: str, activation: str = "linear") -> Model:
    (folder / "x.cfg").write_text(
        CFG.format(
            width=24, height=18, source=source, previous=previous, expose=EXPOSE,
            activation=activation,
        )
    )  # fmt: skip
    (folder / "x.names").write_text("a\nb\nc\n")
    text = (folder / "x.cfg").read_text()
    floats = 8 * 27 + 8 + (8 * 8 + 8) * (text.count(CONV))
    write_weights(folder / "x.weights", np.random.default_rng(1).normal(size=floats))
    return read_model(folder)


def shortcut(add: np.ndarray, to: np.ndarray) -> np.ndarray:
    """Return what shortcut_cpu of pjreddie's `src/blas.c` makes of two (c, h, w) maps."""
    (c1, h1, w1), (c2, h2, w2) = add.shape, to.shape
    stride, sample = max(1, w1 // w2), max(1, w2 // w1)
    out = to.copy()
    for k in range(min(c1, c2)):
        for j in range(min(h1, h2)):
            for i in range(min(w1, w2)):
                out[k, j * sample, i * sample] += add[k, j * stride, i * stride]
    return out


SIZES = {
    "the same size": (CONV, CONV),
    "twice as large": (CONV, pool(2)),
    "three times as large": (CONV, pool(3)),
    "a little larger": (CONV, pool(1, 3)),
    "two and a half times as large": (CONV, f"{pool(1, 2)}\n{pool(3)}"),
    "half as large": (pool(2), "[upsample]\nstride=2"),
    "a third as large": (pool(2), "[upsample]\nstride=3"),
    "a little smaller": (pool(2), f"[upsample]\nstride=2\n{pool(1, 5)}"),
    "two fifths": (pool(4), f"[upsample]\nstride=3\n{pool(1, 2)}"),
}


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_map_of_another_size_is_added_as_in_darknet(
    tmp_path: Path, name: str, engine: str
) -> None:
    model = write(tmp_path, *SIZES[name])
    image = np.random.default_rng(2).integers(0, 256, (1, 18, 24, 3), dtype=np.uint8)
    loaded, _ = build_engine(model, EngineOptions(threads=1, engine=engine))

    source, previous, found = (head[0] for head in loaded.execute(image))

    np.testing.assert_allclose(found, shortcut(source, previous), rtol=1e-4, atol=1e-4)
    assert (found.shape == source.shape) == (name == "the same size")
    assert np.abs(found - previous).max() > 0.1


@pytest.mark.skipif(find_libdarknet() is None, reason='run "make oracle"; NOT compared')
@pytest.mark.parametrize("name", SIZES)
def test_a_map_of_another_size_is_added_as_by_the_library(tmp_path: Path, name: str) -> None:
    model = write(tmp_path, *SIZES[name], activation="leaky")
    image = np.random.default_rng(2).integers(0, 256, (1, 18, 24, 3), dtype=np.uint8)
    ours, _ = build_engine(model, EngineOptions(threads=1, engine="openvino"))
    theirs, _ = build_engine(model, EngineOptions(threads=1, engine="darknet"))

    for mine, other in zip(ours.execute(image), theirs.execute(image), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)
