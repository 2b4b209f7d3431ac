"""Parsing of .cfg files, and the errors for invalid ones."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.detector.darknet.cfg import parse_cfg, read_cfg
from elastic_yolo.detector.darknet.numbers import read_number, read_whole
from elastic_yolo.detector.errors import CfgError

LIBC = ctypes.CDLL(None)
LIBC.atof.restype = ctypes.c_double
LIBC.atol.restype = ctypes.c_long


def test_sections_options_and_lines_are_kept() -> None:
    cfg = parse_cfg("# a comment\n[net]\nwidth = 32\n\n; another\n[yolo]\nmask = 0, 1\n")

    assert cfg.net.options["width"].value == "32"
    assert cfg.net.options["width"].line == 3
    assert [(section.kind, section.line) for section in cfg.layers] == [("yolo", 6)]
    assert cfg.layers[0].integers("mask") == (0, 1)


def test_a_comment_after_a_value_is_dropped() -> None:
    cfg = parse_cfg("[net]\n[convolutional]\nfilters=8 # eight\n")

    assert cfg.layers[0].integer("filters", 1) == 8


def test_missing_options_take_the_default() -> None:
    section = parse_cfg("[net]\n[yolo]\n").layers[0]

    assert section.integer("classes", 20) == 20
    assert section.number("ignore_thresh", 0.5) == 0.5
    assert section.text("activation", "linear") == "linear"
    assert section.numbers("anchors", 2) == ()


def test_the_first_of_two_options_counts_as_in_darknet() -> None:
    section = parse_cfg("[net]\n[yolo]\nnum=1\nnum=2\n").layers[0]

    assert section.integer("num", 0) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no section found"),
        ("[yolo]\nnum=1\n", r"x\.cfg:1: expected \[net\] first, found \[yolo\]"),
        ("[net]\nwidth=1\n", "no layers"),
        ("[net\n", r"x\.cfg:1: section header without '\]'"),
        ("[net] # a comment\n", r"without '\]' at its end: \[net\] # a comment"),
        ("width=3\n[net]\n", r"x\.cfg:1: an option before the first \[section\]: width=3"),
    ],
)
def test_a_malformed_file_is_refused_with_file_and_line(text: str, message: str) -> None:
    with pytest.raises(CfgError, match=message):
        parse_cfg(text, Path("x.cfg"))


def test_a_value_of_the_wrong_type_is_refused_with_its_line() -> None:
    section = parse_cfg("[net]\n[yolo]\nclasses=many\n", Path("x.cfg")).layers[0]

    with pytest.raises(CfgError, match=r"x\.cfg:3: \[yolo\] classes=many: expected a whole number"):
        section.integer("classes", 20)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("8", 8), ("+8", 8), ("-8", -8), ("08", 8), ("8;eight", 8), ("8#eight", 8), ("8//", 8),
        ("8.9", 8), ("1e3", 1), ("0x10", 0), ("1_0", 1), ("8,9", 8), ("\v8", 8), ("8\u8bad", 8),
        ("2147483647", 2147483647), ("-2147483648", -2147483648),
    ],
)  # fmt: skip
def test_whole_numbers_are_read_as_atoi_reads_them(value: str, number: int) -> None:
    section = parse_cfg(f"[net]\n[yolo]\nclasses={value}\n").layers[0]

    assert section.integer("classes", 20) == number


@pytest.mark.parametrize(
    "value", ["many", ";8", ".5", "--1", "+", "2147483648", "\u0661", "\xa08", "9" * 5000]
)
def test_what_atoi_makes_0_or_wraps_around_is_refused(value: str) -> None:
    section = parse_cfg(f"[net]\n[yolo]\nclasses={value}\n").layers[0]

    with pytest.raises(CfgError, match="expected a whole number"):
        section.integer("classes", 20)


@pytest.mark.parametrize("value", [",", "1,", ",1", "1,,2", "1,x", "1;a,b"])
def test_a_list_has_a_number_for_every_comma(value: str) -> None:
    """Darknet counts commas, and reads 0 where no number follows."""
    section = parse_cfg(f"[net]\n[route]\nlayers={value}\n").layers[0]

    with pytest.raises(CfgError, match="expected whole numbers separated by commas"):
        section.integers("layers")


def test_commas_behind_the_numbers_that_count_have_no_effect() -> None:
    """Files with a comma behind the last anchor are common."""
    text = "[net]\n[yolo]\nanchors = 10,8, 20,16.5 ,, # w,h\nmask = 0, 1 # of 0,1,2\n"
    section = parse_cfg(text).layers[0]

    assert section.numbers("anchors", 4) == (10, 8, 20, 16.5)
    assert section.integers("mask", comment="#") == (0, 1)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("+1", 1), ("-.5", -0.5), ("2.", 2), ("1e-3", 0.001), ("1E+2", 100), ("0.1abc", 0.1),
        ("1e-3x", 0.001), ("1e", 1), ("1_0.5", 1), ("0x10", 16), ("0x1p3", 8), ("0x.8", 0.5),
        ("1.5;half", 1.5), ("1,5", 1), ("\f.5", 0.5),
    ],
)  # fmt: skip
def test_numbers_are_read_as_atof_reads_them(value: str, number: float) -> None:
    section = parse_cfg(f"[net]\n[yolo]\nscale_x_y={value}\n").layers[0]

    assert section.number("scale_x_y", 0) == number


@pytest.mark.parametrize("value", ["nan", "inf", "1e39", "9" * 41, "x1", "e5", ".", "0x1p2000"])
def test_a_number_is_one_that_float32_holds(value: str) -> None:
    section = parse_cfg(f"[net]\n[yolo]\nscale_x_y={value}\n").layers[0]

    with pytest.raises(CfgError, match="expected a number"):
        section.number("scale_x_y", 0)


@given(st.text(st.sampled_from("0123456789+-.eExXpPaf_ ,;#\t\v"), max_size=12))
def test_numbers_are_those_of_the_c_library(text: str) -> None:
    """Where ours refuses, C makes 0, infinity or a number that is too large."""
    raw = text.encode()
    try:
        whole: int | None = read_whole(text)[0]
    except ValueError:
        whole = None
    try:
        number: float | None = read_number(text)[0]
    except ValueError:
        number = None

    assert whole in (None, LIBC.atoi(raw))
    assert number in (None, LIBC.atof(raw))
    assert whole is not None or LIBC.atol(raw) == 0 or abs(LIBC.atol(raw)) >= 2**31
    assert number is not None or LIBC.atof(raw) == 0 or abs(LIBC.atof(raw)) > 3.4e38


PLAIN = b"[net]\nwidth=32\n[convolutional]\nfilters=14\n"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("# \u8bad\u7ec3\n".encode("gbk") + PLAIN, id="GBK comment"),
        pytest.param("; \xfcber\n".encode("latin1") + PLAIN, id="Latin-1 comment"),
        pytest.param(PLAIN + "note=\u8bad".encode("gbk"), id="GBK note"),
        pytest.param(PLAIN.replace(b"14", "14 ; \u8bad,".encode("gbk")), id="GBK behind a value"),
        pytest.param(b"\xef\xbb\xbf" + PLAIN, id="byte order mark"),
        pytest.param(PLAIN + bytes(1), id="zero byte at the end"),
        pytest.param(PLAIN + bytes(4096), id="zero bytes at the end"),
        pytest.param(PLAIN.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(PLAIN.replace(b"\n", b"\r"), id="CR"),
        pytest.param(b"# page 1\x0cwidth=99\n" + PLAIN, id="form feed in a comment"),
        pytest.param("# one\u2028width=99\x85\n".encode() + PLAIN, id="separators in a comment"),
        pytest.param(PLAIN.replace(b"32", b"3 2\x0c"), id="form feed behind a number"),
        pytest.param(b"\t [ net ]\nwid th = 32\n[conv]\nfilters =\t1 4", id="blanks"),
    ],
)
def test_bytes_that_darknet_does_not_look_at_may_be_anything(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "x.cfg"
    path.write_bytes(content)

    cfg = read_cfg(path)

    assert cfg.net.integer("width", 0) == 32
    assert [section.kind for section in cfg.layers] == ["convolutional"]
    assert cfg.layers[0].integer("filters", 0) == 14


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (PLAIN.decode().encode("utf-16"), "it is UTF-16: convert it with iconv -f UTF-16 -t UTF-8"),
        (PLAIN.decode().encode("utf-16-le"), "it is UTF-16LE: convert"),
        (PLAIN.decode().encode("utf-16-be"), "it is UTF-16BE: convert"),
        (PLAIN.decode().encode("utf-32"), "it is UTF-32: convert"),
        (b"\0\2\0\0\0" + PLAIN, r"byte 0 is zero\): is it the \.weights file\?"),
        (b"\n<!DOCTYPE html><html>", r"x\.cfg: an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"\x1f\x8b\x08\0", "compressed with gzip: unpack it with gunzip"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.cfg"
    path.write_bytes(content)

    with pytest.raises(CfgError, match=message):
        read_cfg(path)


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("conv", "convolutional"), ("max", "maxpool"), ("avg", "avgpool"),
        ("local_avg", "local_avgpool"), ("silence", "empty"), ("route", "route"),
    ],
)  # fmt: skip
def test_second_names_of_sections_are_known(written: str, kind: str) -> None:
    section = parse_cfg(f"[network]\n[{written}]\n").layers[0]

    assert (section.kind, section.written) == (kind, written)
    assert str(section.error("from", "a layer")).startswith(f"network.cfg:2: [{written}] needs")


def test_an_option_without_a_value_hides_a_later_one_but_one_with_nothing_behind_it_does_not() -> (
    None
):
    """read_option keeps the first without a value, and skips the second."""
    section = parse_cfg("[net]\n[yolo]\nnum\nnum=2\nclasses=\nclasses=3\n").layers[0]

    assert section.integer("num", 1) == 1
    assert section.integer("classes", 20) == 3


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CfgError, match=r"absent\.cfg: cannot be read: No such file"):
        read_cfg(tmp_path / "absent.cfg")
