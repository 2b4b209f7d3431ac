"""Randomly changed files are refused with a ModelError, or consistent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastic_yolo.detector.darknet.cfg import parse_cfg, read_cfg
from elastic_yolo.detector.darknet.fork import needs_fork
from elastic_yolo.detector.darknet.plan import plan_network
from elastic_yolo.detector.darknet.weights import read_weights
from elastic_yolo.detector.errors import CfgError, ModelError, WeightsError
from elastic_yolo.detector.manifest import parse_manifest, read_manifest
from elastic_yolo.detector.model import read_model
from elastic_yolo.lab.processes.stack import ROOT
from tests.support.consistency import assert_consistent, assert_one_line
from tests.support.tiny import CFG, write_tiny_model, write_weights

CFGS = (
    *(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("tests/fuzz/seeds/*.cfg"))),
    # Few lines, so that mutations often hit two related ones.
    CFG.format(width=32, height=32),
)
KINDS = tuple(sorted({line for text in CFGS for line in text.splitlines() if line[:1] == "["}))
KEYS = tuple(
    sorted({line.partition("=")[0] for text in CFGS for line in text.splitlines() if "=" in line})
)
NUMBERS = st.one_of(
    st.integers(-3, 70).map(str),
    st.sampled_from(
        "0 -1 -0 +1 2147483647 -2147483648 4294967296 9223372036854775808 1e308 1e-400 3.5e38 nan "
        "-inf 1_000 0x10 00000000001 1, ,1 1,,1 -1,-1 0,0 0,1,2,3 .5 1. 1e 3.9 \u0661".split()
    ),
    st.integers(1, 5000).map(lambda count: "9" * count),
    st.integers(1, 2000).map(lambda count: ",".join(["-1"] * count)),
    st.text(max_size=4),
)
FLOATS = st.sampled_from(
    [np.nan, np.inf, -np.inf, -1.0, -1e-30, 0.0, 1e-45, 1e20, -1e38, 3.4e38, 1e34]
)
Lines = list[str]


@st.composite
def cfgs(draw: st.DrawFn) -> str:
    """Return the text of a known network after one to four changes."""
    lines = draw(st.sampled_from(CFGS)).splitlines()
    for _ in range(draw(st.integers(1, 4))):
        change = draw(st.sampled_from(_CHANGES))
        change(draw, lines, draw(st.integers(0, len(lines) - 1)))
    return "\n".join(lines)


def _value(draw: st.DrawFn, lines: Lines, at: int) -> None:
    options = [i for i, line in enumerate(lines) if "=" in line]
    if options:
        at = options[at % len(options)]
        lines[at] = f"{lines[at].partition('=')[0]}={draw(NUMBERS)}"


def _entry(draw: st.DrawFn, lines: Lines, at: int) -> None:
    """Change one of the numbers that an option lists."""
    lists = [i for i, line in enumerate(lines) if "," in line]
    if lists:
        at = lists[at % len(lists)]
        key, _, values = lines[at].partition("=")
        parts = values.split(",")
        parts[draw(st.integers(0, len(parts) - 1))] = draw(NUMBERS)
        lines[at] = f"{key}={','.join(parts)}"


def _insert(draw: st.DrawFn, lines: Lines, at: int) -> None:
    lines.insert(at, f"{draw(st.sampled_from(KEYS))}={draw(NUMBERS)}")


def _kind(draw: st.DrawFn, lines: Lines, at: int) -> None:
    headers = [i for i, line in enumerate(lines) if line[:1] == "["]
    if headers:
        lines[headers[at % len(headers)]] = draw(st.sampled_from(KINDS))


def _drop(_draw: st.DrawFn, lines: Lines, at: int) -> None:
    if len(lines) > 1:
        del lines[at]


def _swap(draw: st.DrawFn, lines: Lines, at: int) -> None:
    other = draw(st.integers(0, len(lines) - 1))
    lines[at], lines[other] = lines[other], lines[at]


def _section(draw: st.DrawFn, lines: Lines, at: int) -> None:
    """Copy a section to another place, or delete it."""
    headers = [i for i, line in enumerate(lines) if line[:1] == "["]
    if headers:
        start = headers[at % len(headers)]
        end = next((i for i in headers if i > start), len(lines))
        section = lines[start:end]
        if draw(st.booleans()):
            target = draw(st.sampled_from(headers))
            lines[target:target] = section
        elif len(section) < len(lines):
            del lines[start:end]


def _letters(draw: st.DrawFn, lines: Lines, at: int) -> None:
    place = draw(st.integers(0, len(lines[at])))
    lines[at] = lines[at][:place] + draw(st.text(max_size=3)) + lines[at][place + 1 :]


_CHANGES: list[Callable[[st.DrawFn, Lines, int], None]] = [
    _value, _value, _value, _entry, _insert, _kind, _drop, _swap, _section, _section, _letters
]  # fmt: skip


@st.composite
def weights(draw: st.DrawFn, good: bytes) -> bytes:
    """Return the bytes of a .weights file after one to three changes."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["cut", "insert", "float", "header", "byte", "swap", "remove"])):
            case "cut":
                del data[place:]
            case "insert":
                data[place:place] = draw(st.binary(max_size=9))
            case "remove":
                del data[place : place + draw(st.integers(1, 9))]
            case "float":
                start = 20 + (place - 20) // 4 * 4
                data[start : start + 4] = np.array([draw(FLOATS)], "<f4").tobytes()
            case "header":
                number = draw(st.integers(-(2**31), 2**31 - 1))
                start = place % 5 * 4
                data[start : start + 4] = np.array([number], "<i4").tobytes()
            case "byte":
                data[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
            case _:
                whole = len(data) // 4 * 4
                data[:whole] = np.frombuffer(bytes(data[:whole]), "<u4").byteswap().tobytes()
    return bytes(data)


MANIFEST = (ROOT / "models/demo/model.yaml").read_text(encoding="utf-8")
_YAML_PARTS = st.sampled_from(
    "--- ... : - ? [ ] { } , & * ! !! | > ' \" % @ ` # ~ \\n\\n <<: *a &a null yes .inf .nan 0x_ "
    "0b 1e9 2020-01-99 1:99 !!binary !!set !!int !!float !!timestamp %YAML \\U00110000 \\ud800 "
    "\\x00 name version threshold iou files golden picture expected tolerance px score sha256: "
    "accuracy_budget".split()
)


@st.composite
def manifests(draw: st.DrawFn) -> str:
    """Return YAML-like text: tokens in any order, or a changed model.yaml."""
    if draw(st.booleans()):
        blanks = st.sampled_from(["", " ", "\n", "\n  ", ": ", "\n- ", ", "])
        parts = draw(st.lists(st.tuples(_YAML_PARTS | st.text(max_size=3), blanks), max_size=25))
        return "".join(part + blank for part, blank in parts)
    lines = MANIFEST.splitlines()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        draw_from = draw(st.sampled_from([_letters, _swap, _drop]))
        draw_from(draw, lines, at)
        if draw(st.booleans()):
            key, colon, _ = lines[at % len(lines)].partition(":")
            lines[at % len(lines)] = f"{key}{colon} {draw(NUMBERS | _YAML_PARTS)}"
    return "\n".join(lines)


def written(folder: Path, name: str, data: str | bytes) -> Path:
    """Write a file and return its path; a lone surrogate becomes invalid UTF-8."""
    path = folder / name
    path.write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
    return path


SMALL = plan_network(parse_cfg(CFGS[0]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder whose files each example overwrites."""
    return write_tiny_model(tmp_path_factory.mktemp("mutated"))


def good_weights(folder: Path) -> bytes:
    path = folder / "good"
    write_weights(path, np.ones(SMALL.float_count))
    return path.read_bytes()


@pytest.mark.parametrize("text", CFGS)
def test_the_networks_that_are_mutated_are_consistent(folder: Path, text: str) -> None:
    assert_consistent(plan_network(parse_cfg(text)), folder)


@settings(max_examples=1000)
@given(cfgs())
def test_a_mutated_cfg_is_consistent_or_refused(folder: Path, text: str) -> None:
    try:
        network = plan_network(read_cfg(written(folder, "some.cfg", text)))
    except CfgError as error:
        assert_one_line(error)
        return
    finally:
        (folder / "some.cfg").unlink()

    assert_consistent(network, folder)


@settings(max_examples=400)
@given(st.data())
def test_mutated_weights_are_refused_or_all_finite(folder: Path, data: st.DataObject) -> None:
    content = data.draw(weights(good_weights(folder)))
    path = written(folder, "some.weights", content)

    try:
        found = read_weights(path, SMALL)
    except WeightsError as error:
        assert_one_line(error)
        return
    finally:
        path.unlink()

    assert found.convolutions.keys() == {layer.index for layer in SMALL.convolutions}
    for layer in SMALL.convolutions:
        filters, biases = found.convolutions[layer.index].folded(fork=needs_fork(SMALL))
        assert filters.shape == layer.weights_shape
        assert biases.shape == (layer.output.channels,)
        assert np.isfinite(filters).all()
        assert np.isfinite(biases).all()


@settings(max_examples=400)
@given(manifests())
def test_a_mutated_manifest_is_refused_or_valid(folder: Path, text: str) -> None:
    path = written(folder, "model.yaml", text)
    try:
        manifest = read_manifest(folder)
    except ModelError as error:
        assert_one_line(error)
        return
    finally:
        path.unlink()

    assert 0 <= manifest.threshold <= 1
    assert 0 <= manifest.iou <= 1
    assert manifest.golden is None or "/" not in manifest.golden.picture


@given(st.text())
def test_any_text_as_a_manifest_is_read_or_refused(text: str) -> None:
    try:
        manifest = parse_manifest(text)
    except ModelError:
        return

    assert 0 <= manifest.threshold <= 1


@given(st.sampled_from(["tiny.cfg", "tiny.names", "model.yaml", "tiny.weights"]), st.binary())
def test_any_bytes_in_any_file_are_read_or_refused(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    before = path.read_bytes() if path.exists() else None
    path.write_bytes(content)
    try:
        model = read_model(folder)
    except ModelError as error:
        assert_one_line(error)
        return
    finally:
        path.unlink()
        if before is not None:
            path.write_bytes(before)

    assert len(model.labels) == model.network.classes
