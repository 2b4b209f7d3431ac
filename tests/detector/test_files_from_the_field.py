"""Model folders as people have them: spellings that Darknet takes, with Darknet's result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elastic_yolo.detector.engines.choose import EngineOptions, build_engine
from elastic_yolo.detector.engines.libdarknet import find_libdarknet
from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.model import read_model
from tests.support.tiny import write_weights

CFG = """[net]
width=32
height=32
channels=3

[convolutional]
batch_normalize=1
filters=6
size=3
stride=2
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]
filters=14
size=1
stride=1
pad=0
activation=linear

[yolo]
mask=0,1
anchors=10,8, 20,16
classes=2
num=2
"""
FLOATS = 6 * 4 + 6 * 27 + 14 + 14 * 6


def spelt(old: str, new: str, encoding: str = "utf-8") -> bytes:
    assert old in CFG
    return CFG.replace(old, new).encode(encoding)


SPELLINGS = {
    "as it is": CFG.encode(),
    "a comment in GBK": spelt("[net]", "# 训练\n[net]", "gbk"),
    "a comment in Latin-1": spelt("[yolo]", "; für zwei\n[yolo]", "latin1"),
    "a semicolon behind a number": spelt("filters=14", "filters=14 ; (2+5)*2"),
    "letters behind a number": spelt("filters=14", "filters=14abc"),
    "a sign": spelt("filters=14", "filters=+14"),
    "a fraction": spelt("stride=1\n", "stride=1.9\n"),
    "fractions of anchors": spelt("10,8, 20,16", "10.0,8e0x, 0x14,.16e2"),
    "a comma behind the anchors": spelt("20,16", "20,16,"),
    "own options": spelt("size=1", "size=1\nname=last\nshow_receptive_field=1"),
    "an option without a value": spelt("num=2", "num=2\nrandom"),
    "an option with nothing behind it": spelt("pad=0", "pad=\npad=0"),
    "an option twice": spelt("pad=0", "pad=0\npad=1"),
    "second names": CFG.replace("convolutional", "conv").replace("maxpool", "max").encode(),
    "network": spelt("[net]", "[network]"),
    "a zero byte at the end": CFG.encode() + b"\0",
    "no line feed at the end": CFG.encode().rstrip(),
    "CRLF": spelt("\n", "\r\n"),
    "a byte order mark": CFG.encode("utf-8-sig"),
    "blanks and tabs": spelt("filters=14", " filters\t= 1 4 "),
    "a dropout": spelt("[yolo]", "[dropout]\nprobability=.5\n\n[yolo]"),
}


def write(folder: Path, cfg: bytes) -> Path:
    folder.mkdir()
    (folder / "m.cfg").write_bytes(cfg)
    (folder / "m.names").write_text("kot\npies\n")
    values = np.random.default_rng(8).normal(size=FLOATS)
    values[18:24] = np.abs(values[18:24]) + 0.1
    write_weights(folder / "m.weights", values)
    return folder


def head(folder: Path, engine: str) -> np.ndarray:
    image = np.random.default_rng(9).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    loaded, _ = build_engine(read_model(folder), EngineOptions(threads=1, engine=engine))
    return loaded.execute(image)[0]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The head of the plain file."""
    return head(write(tmp_path_factory.mktemp("plain") / "m", CFG.encode()), "onnxruntime")


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_spelling_that_darknet_takes_gives_the_same_network(
    tmp_path: Path, expected: np.ndarray, name: str
) -> None:
    folder = write(tmp_path / "m", SPELLINGS[name])

    np.testing.assert_array_equal(head(folder, "onnxruntime"), expected)
    assert read_model(folder).network.heads[0].anchors == ((10, 8), (20, 16))


@pytest.mark.skipif(find_libdarknet() is None, reason='run "make oracle"; NOT compared')
@pytest.mark.parametrize("name", SPELLINGS)
def test_darknets_own_code_reads_the_same_network(
    tmp_path: Path, expected: np.ndarray, name: str
) -> None:
    found = head(write(tmp_path / "m", SPELLINGS[name]), "darknet")

    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("suffixes", [("CFG", "WEIGHTS", "NAMES"), ("Cfg", "weights", "Names")])
@pytest.mark.parametrize("data", [None, "DATA", "Data"])
def test_extensions_may_have_capital_letters(
    tmp_path: Path, suffixes: tuple[str, str, str], data: str | None
) -> None:
    folder = write(tmp_path / "m", CFG.encode())
    for suffix in suffixes:
        (folder / f"m.{suffix.lower()}").rename(folder / f"m.{suffix}")
    if data is not None:
        (folder / f"obj.{data}").write_text("classes = 2\nnames = labels.txt\n")
        (folder / "labels.txt").write_text("cat\ndog\n")

    model = read_model(folder)

    assert model.name == "m"
    assert model.labels == (("kot", "pies") if data is None else ("cat", "dog"))


@pytest.mark.parametrize("suffix", ["cfg", "weights", "names"])
def test_two_files_that_differ_in_capital_letters_are_ambiguous(
    tmp_path: Path, suffix: str
) -> None:
    folder = write(tmp_path / "m", CFG.encode())
    (folder / f"old.{suffix.upper()}").touch()

    with pytest.raises(ModelError, match=rf"exactly one \.{suffix} file.*, found m.*, old"):
        read_model(folder)


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        ("# 训练\nclasses = 2 # 两个\nnames = data/m.names\n".encode("gbk"), ("kot", "pies")),
        (b"classes=2\r\nnames=D:\\sets\\m.names\r\n" + bytes(3), ("kot", "pies")),
        ("\ufeffclasses = 2\n".encode(), ("kot", "pies")),
    ],
)
def test_a_data_file_may_have_comments_of_any_encoding(
    tmp_path: Path, data: bytes, labels: tuple[str, ...]
) -> None:
    folder = write(tmp_path / "m", CFG.encode())
    (folder / "m.data").write_bytes(data)

    assert read_model(folder).labels == labels
