"""Write the table of networks that agree with Darknet: `python -m bench.oracle.table`.

Every network has the size of its .cfg and random weights of a fixed seed, and sees one photograph.
Darknet's library needs up to half a minute for a network. The status is 1 if any does not agree.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from bench.oracle.compare import IOU, PIXEL_TOLERANCE, SCORE_TOLERANCE, Comparison, compare
from bench.oracle.networks import NETWORKS, write_cfg
from bench.oracle.random_weights import SEED, write_random_weights
from elastic_yolo.detector.boxes import Pixels
from elastic_yolo.detector.darknet.cfg import read_cfg
from elastic_yolo.detector.darknet.plan import plan_network

COMMAND = "make model-table"
PICTURE = Path("/usr/share/darknet/data/dog.jpg")
_BEGIN, _END = "<!-- model-table:begin -->", "<!-- model-table:end -->"
_HEAD = """\
| network | input | layers | parameters | GFLOP | compared with | heads | boxes | px | score |
|---|---|---:|---:|---:|---|---:|---:|---:|---:|
"""


def main() -> None:
    """Compare the given networks, or all, and print the table or update a document."""
    parser = argparse.ArgumentParser(prog="oracle.table", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NETWORKS)}")
    parser.add_argument("--update", type=Path, help="a file with the table's markers")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in NETWORKS]
    if unknown:
        parser.error(f"no such network: {', '.join(unknown)}")
    if not PICTURE.is_file():
        parser.error(f'{PICTURE} is missing: "make oracle" installs Debian\'s package darknet')
    found = {name: _compared(name) for name in options.names or NETWORKS}
    rows = "".join(_row(name, comparison) for name, comparison in found.items())
    table = f"{_HEAD}{rows}\n{_legend()}"
    if options.update:
        options.update.write_text(between_markers(options.update.read_text(), table))
    else:
        print(table)
    sys.exit(not all(comparison.agrees for comparison in found.values()))


def _compared(name: str) -> Comparison:
    print(f"{name} ...", file=sys.stderr, end=" ", flush=True)
    with tempfile.TemporaryDirectory(prefix="oracle-") as place:
        folder = Path(place)
        cfg = write_cfg(name, folder)
        weights = folder / f"{name}.weights"
        write_random_weights(cfg, weights, SEED)
        size = plan_network(read_cfg(cfg)).input
        found = compare(cfg, weights, _picture(size.width, size.height), os.cpu_count() or 1)
    print(f"heads {found.heads:.1e}, {found.unpaired} boxes without a pair", file=sys.stderr)
    return found


def _picture(width: int, height: int) -> Pixels:
    """Return the photograph, stretched to (height, width, 3) RGB."""
    pixels = np.asarray(cv2.imread(str(PICTURE), cv2.IMREAD_COLOR_RGB), np.uint8)
    return np.asarray(cv2.resize(pixels, (width, height)), np.uint8)


def _row(name: str, found: Comparison) -> str:
    network = found.network
    cells = (
        name,
        f"{network.input.width}x{network.input.height}",
        len(network.layers),
        f"{network.float_count:,}",
        f"{network.flop / 1e9:.1f}",
        found.oracle,
        f"{found.heads:.0e}",
        f"{found.boxes - found.unpaired} of {found.boxes}",
        f"{found.pixels:.2f}",
        f"{found.scores:.0e}",
    )
    return f"| {' | '.join(map(str, cells))} |\n"


def _legend() -> str:
    return f"""\
Written by `{COMMAND}`: random weights (seed {SEED}), {PICTURE.name} of Debian's package darknet.
`heads` is the largest difference of the inputs of a head, relative to the largest value there. `px`
and `score` are the largest differences of boxes after NMS with an overlap of {IOU}. Boxes that
differ by more than {PIXEL_TOLERANCE:g} px or {SCORE_TOLERANCE} do not count as the same.
OpenCV decodes its boxes itself, but leaves NMS to its caller: in its rows, NMS is ours on both
sides. OpenCV adds another epsilon to variances; the comparison sets ours to the same value:
[005](decisions/005-two-darknets.md)."""


def between_markers(text: str, table: str) -> str:
    """Return the text of a document with a new table; raises ValueError without markers."""
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"no {_BEGIN} and {_END}")
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"


if __name__ == "__main__":
    main()
