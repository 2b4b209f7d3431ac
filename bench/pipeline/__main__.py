"""Compare the whole pipeline with a bare loop and with peers: `make bench-pipeline`."""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.models import FOLDER, THREADS, has_darknet, quantise, random_model
from bench.peers.environment import NotInstalled
from bench.peers.registry import Peer, choose_peers
from bench.peers.serving import PeerFailed
from bench.pipeline import report
from bench.pipeline.benchmark import (
    BenchmarkConfig,
    RunningProcesses,
    compare_services,
    start_processes,
)
from bench.pipeline.compare import Result
from bench.pipeline.offered import sweep
from bench.pipeline.overload import overload
from bench.pipeline.peers import compare_peer
from bench.pipeline.picture import make_picture
from bench.pipeline.scaling import LOAD_S, measure_scaling
from bench.pipeline.swaps import LOAD_S as SWAP_LOAD_S
from bench.pipeline.swaps import SHARE, change_model
from elastic_yolo.detector.machine import describe_cpu
from elastic_yolo.detector.model import read_model
from elastic_yolo.lab.processes.json_process import ProcessFailed
from elastic_yolo.lab.processes.stack import DEMO_MODEL, StackError
from elastic_yolo.progress import print_status

_SIZE = 416


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every table and write the JSON file."""
    options = _parse(arguments)
    if options.models != ["demo"] and not has_darknet():
        print_status('Debian\'s darknet is missing: run "make oracle", or use --models demo')
        return 1
    print(f"{describe_cpu()}, {THREADS} cores, {options.precision}", flush=True)
    results: dict[str, Any] = {"cpu": describe_cpu(), "threads": THREADS}
    try:
        for name in options.models:
            results[name] = _measure(name, options)
            text = json.dumps(_plain(results), indent=2, allow_nan=False)
            options.output.write_text(text + "\n", encoding="utf-8")
    except (ProcessFailed, StackError) as error:
        print_status(str(error))
        return 1
    print(f"\nall results: {options.output}")
    return 0


def _plain(value: Any) -> Any:
    """Return a value for JSON, with null for NaN, which JSON lacks."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.pipeline", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=2, help="of a turn (%(default)s)")
    parser.add_argument(
        "--models", type=_words, default="yolov3-tiny,yolov3", help="or demo (%(default)s)"
    )
    parser.add_argument("--precision", default="int8", help="(%(default)s)")
    parser.add_argument(
        "--peers", type=choose_peers, default="all", help="all, none, or names (%(default)s)"
    )
    parser.add_argument(
        "--sweep-seconds",
        type=float,
        default=5,
        help="of each offered rate; 0 omits them (%(default)s)",
    )
    parser.add_argument(
        "--overload-seconds", type=float, default=60, help="0 omits it (%(default)s)"
    )
    parser.add_argument(
        "--no-elastic",
        action="store_true",
        help=f"omit processes started and stopped under load, {LOAD_S:.0f} s",
    )
    parser.add_argument(
        "--no-swaps",
        action="store_true",
        help=f"omit a model that is changed under load, {SWAP_LOAD_S:.0f} s",
    )
    parser.add_argument(
        "--timeout-ms", type=int, default=1000, help="a caller's budget (%(default)s)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("bench-pipeline.json"), help="(%(default)s)"
    )
    return parser.parse_args(arguments)


def _words(text: str) -> list[str]:
    return text.split(",")


def _measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    config = BenchmarkConfig(
        model=_model(name, options.precision),
        cache=FOLDER,
        precision=options.precision,
        picture=make_picture(FOLDER),
        threads=THREADS,
        rounds=options.rounds,
        seconds=options.seconds,
    )
    print_status(f"{name}:")
    with start_processes(config) as up:
        results = compare_services(config, up)
        print(f"\n{name}, {options.precision}\n{report.latency_table(results)}")
        print(f"\n{report.cpu_table(results)}")
        print(f"\n{report.memory_table(results)}", flush=True)
        result, inference = results
        loads = _offer(up, result.images_per_s.median, options)
        if not options.no_elastic:
            loads["elastic"] = _measure_scaling(config, up)
        if not options.no_swaps:
            loads["swaps"] = _change_model(config, up, result.images_per_s.median)
        peers = _compare_peers(config, up, options.peers)
        found = {"pipeline": asdict(result), "inference": asdict(inference), **loads}
        return {"bare": up.bare, **found, "peers": peers}


def _compare_peers(
    config: BenchmarkConfig, up: RunningProcesses, peers: list[Peer]
) -> dict[str, Any]:
    results: list[Result] = []
    left_out: dict[str, Any] = {}
    for peer in peers:
        with tempfile.TemporaryDirectory(prefix="elastic-yolo-") as logs:
            try:
                results.append(compare_peer(config, up, peer, Path(logs)))
            except (NotInstalled, PeerFailed, ProcessFailed) as error:
                print_status(f"omitted: {error}")
                left_out[peer.name] = {"left_out": str(error)}
    if results:
        print(f"\n{report.latency_table(results)}\n\n{report.cpu_table(results)}")
        print(f"\n{report.memory_table(results)}\n\n{report.peer_table(results)}", flush=True)
    for name, why in left_out.items():
        print(f"{name}: omitted: {why['left_out']}")
    return {**{result.name: asdict(result) for result in results}, **left_out}


def _offer(up: RunningProcesses, capacity: float, options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    timeout_ms = options.timeout_ms
    if options.sweep_seconds:
        print_status(f"offered rates, {options.sweep_seconds:.0f} s each")
        rates = sweep(up.runner, up.services, capacity, options.sweep_seconds, timeout_ms)
        print(f"\n{report.offered_table(rates)}", flush=True)
        found["offered"] = [asdict(rate) for rate in rates]
    if options.overload_seconds:
        print_status(f"overload, {options.overload_seconds:.0f} s")
        result = overload(up.runner, up.services, capacity, options.overload_seconds, timeout_ms)
        lines = report.overload_lines(result, options.overload_seconds, timeout_ms)
        print(f"\n{lines}", flush=True)
        found["overload"] = asdict(result)
    return found


def _measure_scaling(config: BenchmarkConfig, up: RunningProcesses) -> dict[str, Any]:
    print_status(f"processes started and stopped under load, {LOAD_S:.0f} s")
    with tempfile.TemporaryDirectory(prefix="elastic-yolo-") as logs:
        result = measure_scaling(
            up.runner, config.model, config.cache, config.precision, up.threshold, Path(logs)
        )
    print(f"\n{report.scaling_lines(result)}", flush=True)
    return asdict(result)


def _change_model(config: BenchmarkConfig, up: RunningProcesses, capacity: float) -> dict[str, Any]:
    print_status(f"a model that is changed under load, {SWAP_LOAD_S:.0f} s")
    result = change_model(
        up.runner, config.model, config.cache, config.precision, up.threshold, SHARE * capacity
    )
    print(f"\n{report.swap_lines(result)}", flush=True)
    return asdict(result)


def _model(name: str, precision: str) -> Path:
    folder = DEMO_MODEL if name == "demo" else random_model(name, _SIZE, FOLDER)
    if precision == "int8":
        quantise(read_model(folder))
    return folder


if __name__ == "__main__":
    sys.exit(main())
