"""`elastic-yolo bench`: engines, precisions and batch sizes side by side, in one run."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.contestants import Contestant
from bench.rounds import Row, compete
from cli.options import add_threads_option, folder
from detector.engines.choose import ENGINES
from detector.model import read_model

_INSTRUCTIONS = frozenset(
    {"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimd", "bf16", "i8mm"}
)


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "bench",
        help="measure engines, precisions and batch sizes",
        description="Measure engines, precisions and batch sizes of a model on this CPU. Each runs "
        "in a process of its own, they take turns, and the report has medians of rounds, compared "
        "with Darknet, with OpenCV's Darknet importer, and with the machine's own matrix product.",
    )
    parser.add_argument("model", type=folder, metavar="DIR", help="model folder")
    parser.add_argument(
        "--engines", type=_list_of(*ENGINES, "opencv"), default=[*ENGINES, "opencv"],
        help="comma-separated (all)",
    )  # fmt: skip
    parser.add_argument(
        "--precisions",
        type=_list_of("fp32", "bf16", "int8"),
        default=["fp32", "bf16", "int8"],
        help="(all; int8 needs --cache)",
    )
    parser.add_argument("--cache", type=Path, metavar="DIR", help="of elastic-yolo convert")
    parser.add_argument("--batch", type=_numbers, default=[1], help="batch sizes (1)")
    parser.add_argument("--rounds", type=_number, default=7, help="(%(default)s)")
    parser.add_argument("--seconds", type=_number, default=2, help="of a round (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the rows as JSON")
    add_threads_option(parser)
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Measure and print; the exit status is 1 if nothing could be measured."""
    model = read_model(parsed.model)
    rows = compete(
        contestants(parsed.engines, parsed.precisions, parsed.batch),
        model,
        threads=parsed.threads,
        cache=parsed.cache,
        rounds=parsed.rounds,
        seconds=parsed.seconds,
        progress=lambda text: print(text, file=sys.stderr, flush=True),
    )
    measured = [row for row in rows if row.engine != "gemm"]
    encoded = json.dumps([asdict(row) for row in measured], indent=2)
    if parsed.output:
        parsed.output.write_text(encoded + "\n", encoding="utf-8")
    if parsed.json:
        print(encoded)
    else:
        size = model.network.input
        print(f"{model.name}, {size.width}x{size.height}, {parsed.threads} threads, {cpu()}")
        print(table(rows))
    return 0 if measured else 1


def contestants(engines: list[str], precisions: list[str], batches: list[int]) -> list[Contestant]:
    """Return what to measure: the bare matrix product first, then every combination there is."""
    return [
        Contestant("gemm"),
        *(
            Contestant(engine, precision, batch)
            for engine in engines
            for precision in (precisions if engine == "openvino" else ["fp32"])
            # Darknet's C code takes pictures one by one: a batch would only repeat itself.
            for batch in (batches if engine != "darknet" else [1])
        ),
    ]


def table(rows: list[Row]) -> str:
    """Return the rows for a terminal, fastest last, with ratios to Darknet, OpenCV and GEMM."""
    peers = {row.engine: row for row in reversed(rows) if row.engine != "gemm"}
    peak = next((row.gflop_per_s for row in rows if row.engine == "gemm"), None)
    head = ("engine", "precision", "batch", "median ms", "lowest", "highest", "images/s")
    title = _line(*head, "x Darknet", "x OpenCV", "GFLOP/s", "of GEMM")
    body = (
        _line(
            row.engine,
            row.precision,
            str(row.batch),
            *(f"{ms:.2f}" for ms in (row.median_ms, row.lowest_ms, row.highest_ms)),
            f"{row.images_per_s:.1f}",
            _ratio(row, peers.get("darknet")),
            _ratio(row, peers.get("opencv")),
            f"{row.gflop_per_s:.1f}",
            f"{row.gflop_per_s / peak:.0%}" if peak else "-",
        )
        for row in sorted(rows, key=lambda row: row.images_per_s)
    )
    return "\n".join((title, *body))


def _line(engine: str, precision: str, *numbers: str) -> str:
    return f"{engine:<12} {precision:<9} " + " ".join(f"{number:>9}" for number in numbers)


def _ratio(row: Row, peer: Row | None) -> str:
    if peer is None or row.engine == "gemm":
        return "-"
    return f"{row.images_per_s / peer.images_per_s:.1f}"


def cpu() -> str:
    """Return the CPU's name and those of its instruction sets that matter here."""
    facts: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    name = facts.get("model name", platform.machine())
    return f"{name} ({', '.join(sorted(_INSTRUCTIONS.intersection(flags))) or 'baseline'})"


def _list_of(*allowed: str) -> Any:
    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        if wrong := [word for word in chosen if word not in allowed]:
            raise argparse.ArgumentTypeError(f"{wrong[0]!r}: expected {', '.join(allowed)}")
        return chosen

    return parse


def _numbers(text: str) -> list[int]:
    return [_number(part) for part in text.split(",")]


def _number(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("expected whole numbers above 0")
    return int(text)
