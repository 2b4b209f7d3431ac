"""Damaged .cfg and .weights files: an error of ours, soon and without much memory."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.darknet.cfg import parse_cfg
from detector.darknet.plan import plan_network
from detector.darknet.weights import read_weights
from detector.errors import CfgError, ModelError
from tests.tiny import CFG, write_tiny_model
from tools.stack import ROOT

WHOLE = CFG.format(width=32, height=32)
SECTIONS = "convolutional maxpool route shortcut yolo region reorg upsample sam avgpool".split()
KEYS = (
    "filters size stride pad padding groups dilation layers from classes num mask anchors".split()
)
NUMBERS = st.one_of(st.integers(-3, 70), st.integers(-(2**63), 2**63), st.floats())


@given(
    st.lists(
        st.tuples(st.integers(0, len(WHOLE) - 1), st.characters(max_codepoint=300)), max_size=6
    )
)
def test_a_cfg_with_changed_letters_is_read_or_refused(changes: list[tuple[int, str]]) -> None:
    text = list(WHOLE)
    for place, letter in changes:
        text[place] = letter

    try:
        network = plan_network(parse_cfg("".join(text)))
    except CfgError:
        return

    assert network.heads


@given(
    st.lists(
        st.tuples(st.sampled_from(SECTIONS), st.dictionaries(st.sampled_from(KEYS), NUMBERS)),
        max_size=5,
    )
)
def test_a_cfg_of_random_layers_is_read_or_refused(
    sections: list[tuple[str, dict[str, object]]],
) -> None:
    lines = ["[net]", "width=64", "height=32", "channels=3"]
    for kind, options in sections:
        lines += [f"[{kind}]", "activation=linear"] if kind == "convolutional" else [f"[{kind}]"]
        lines += [f"{key}={value}" for key, value in options.items()]

    try:
        network = plan_network(parse_cfg("\n".join(lines)))
    except CfgError:
        return

    assert network.heads


@given(st.binary(max_size=120), st.booleans())
def test_random_weights_files_are_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, with_header: bool
) -> None:
    path = tmp_path_factory.mktemp("weights") / "x.weights"
    head = np.array([0, 2, 0, 0, 0], "<i4").tobytes() if with_header else b""
    path.write_bytes(head + content[:100])
    network = plan_network(parse_cfg(WHOLE))

    with pytest.raises(ModelError):
        read_weights(path, network)


def byteswapped(folder: Path) -> None:
    path = folder / "tiny.weights"
    path.write_bytes(np.frombuffer(path.read_bytes(), "<u4").byteswap().tobytes())


def swapped(folder: Path) -> None:
    cfg, weights = folder / "tiny.cfg", folder / "tiny.weights"
    content = cfg.read_bytes(), weights.read_bytes()
    weights.write_bytes(content[0])
    cfg.write_bytes(content[1])


def filled_with_nan(folder: Path) -> None:
    path = folder / "tiny.weights"
    data = path.read_bytes()
    path.write_bytes(data[:20] + np.full((len(data) - 20) // 4, np.nan, "<f4").tobytes())


def of_huge_filters(folder: Path) -> None:
    cfg = folder / "tiny.cfg"
    cfg.write_text(cfg.read_text().replace("filters=7", "filters=2000000000"))


def of_huge_size(folder: Path) -> None:
    cfg = folder / "tiny.cfg"
    cfg.write_text(cfg.read_text().replace("width=32", "width=2000000000"))


def of_endless_layers(folder: Path) -> None:
    cfg = folder / "tiny.cfg"
    cfg.write_text(WHOLE[: WHOLE.index("[yolo]")] + "[upsample]\nstride=1000\n" * 50)


@pytest.mark.parametrize(
    "damage",
    [byteswapped, swapped, filled_with_nan, of_huge_filters, of_huge_size, of_endless_layers],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_folder_is_refused_soon_and_without_much_memory(
    tmp_path: Path, damage: object
) -> None:
    """In a process with 2 s of CPU, imports included, and 200 MB above what the imports take."""
    folder = write_tiny_model(tmp_path / "model")
    assert callable(damage)
    damage(folder)
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from detector.model import read_model\n"
        "from detector.errors import ModelError\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000,) * 2)\n"
        "try:\n"
        "    read_model(Path(sys.argv[1])).read_weights()\n"
        "except ModelError as error:\n"
        "    print(error)\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (2, 2)),
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("\n") == 1
