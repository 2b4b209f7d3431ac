"""Parsing of .cfg files, and the errors for invalid ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastic_yolo.detector.darknet.cfg import parse_cfg, read_cfg
from elastic_yolo.detector.errors import CfgError


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
    assert section.numbers("anchors") == ()


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
        ("width=3\n[net]\n", r"x\.cfg:1: an option before the first \[section\]: width=3"),
        ("[net]\nwidth 32\n[yolo]\n", r"x\.cfg:2: expected key=value, found: width 32"),
    ],
)
def test_a_malformed_file_is_refused_with_file_and_line(text: str, message: str) -> None:
    with pytest.raises(CfgError, match=message):
        parse_cfg(text, Path("x.cfg"))


def test_a_value_of_the_wrong_type_is_refused_with_its_line() -> None:
    section = parse_cfg("[net]\n[yolo]\nclasses=many\n", Path("x.cfg")).layers[0]

    with pytest.raises(CfgError, match=r"x\.cfg:3: \[yolo\] classes=many: expected a whole number"):
        section.integer("classes", 20)


@pytest.mark.parametrize("value", ["1_0", "0x10", "1e1", "1.0", "", "--1", "2147483648", "\u0661"])
def test_whole_numbers_are_those_that_darknet_reads(value: str) -> None:
    section = parse_cfg(f"[net]\n[yolo]\nclasses={value}\n").layers[0]

    with pytest.raises(CfgError, match="expected a whole number"):
        section.integer("classes", 20)


@pytest.mark.parametrize("value", ["", ",", "1,", ",1", "1,,2"])
def test_a_list_has_a_number_for_every_comma(value: str) -> None:
    section = parse_cfg(f"[net]\n[yolo]\nmask={value}\n").layers[0]

    with pytest.raises(CfgError, match="expected whole numbers separated by commas"):
        section.integers("mask")


@pytest.mark.parametrize(
    ("value", "number"), [("+1", 1), ("-.5", -0.5), ("2.", 2), ("1e-3", 0.001), ("1E+2", 100)]
)
def test_a_number_is_written_as_in_c(value: str, number: float) -> None:
    section = parse_cfg(f"[net]\n[yolo]\nscale_x_y={value}\n").layers[0]

    assert section.number("scale_x_y", 0) == number


@pytest.mark.parametrize("value", ["nan", "inf", "1e39", "1_0.5", "1e", "0x1p3", "9" * 41])
def test_a_number_is_one_that_float32_holds(value: str) -> None:
    section = parse_cfg(f"[net]\n[yolo]\nscale_x_y={value}\n").layers[0]

    with pytest.raises(CfgError, match="expected a number"):
        section.number("scale_x_y", 0)


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.cfg"
    path.write_bytes(b"[net]\n\xff\xfe")

    with pytest.raises(CfgError, match="byte 6 is not UTF-8"):
        read_cfg(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CfgError, match=r"absent\.cfg: cannot be read: No such file"):
        read_cfg(tmp_path / "absent.cfg")
