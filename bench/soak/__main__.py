"""Send the services mixed requests and cause faults, for as long as wanted: `make soak`."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.soak import report
from bench.soak.fleet import Fleet
from bench.soak.resources import Limits
from bench.soak.run import Plan, Result, Soak, make_world
from elastic_yolo.lab.processes.stack import DEMO_MODEL, StackError
from elastic_yolo.progress import StatusLine, print_status

# A model's memory settles after some switches of its version.
_MOST_WARM_UP_S = 180.0
_LINE_EVERY_S = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a soak; return 0 if nothing failed and nothing grew."""
    options = _parse(arguments)
    folder = Path(tempfile.mkdtemp(prefix="elastic-yolo-soak-"))
    plan = _plan(options)
    print_status(f"seed {plan.seed}, {plan.rate:g} requests a second; logs in {folder}")
    try:
        result = asyncio.run(_run(plan, folder))
    except (StackError, TimeoutError, OSError) as error:
        print_status(f"soak: {str(error) or 'not ready in time'}; see {folder}")
        return 1
    print(report.text(result), flush=True)
    if options.json is not None:
        text = json.dumps(report.to_json(result), indent=1, allow_nan=False)
        options.json.write_text(text + "\n", encoding="utf-8")
    if result.passed:
        shutil.rmtree(folder)
    return 0 if result.passed else 1


async def _run(plan: Plan, folder: Path) -> Result:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    fleet = Fleet(folder, DEMO_MODEL)
    with fleet.running():
        world = await make_world(fleet)
        return await Soak(plan, fleet, world, _Progress().show).run(stop)


class _Progress:
    """One line that a terminal redraws; a log gets one each minute."""

    def __init__(self) -> None:
        self._line = StatusLine()
        self._said_s = -math.inf

    def show(self, result: Result) -> None:
        text = report.progress(result)
        self._line.show(text)
        if not self._line.terminal and result.seconds - self._said_s >= _LINE_EVERY_S:
            self._said_s = result.seconds
            print_status(text)


def _plan(options: argparse.Namespace) -> Plan:
    seconds = options.minutes * 60
    return Plan(
        seconds=seconds,
        seed=secrets.randbelow(10**6) if options.seed is None else options.seed,
        rate=options.rate,
        concurrency=options.concurrency,
        warm_up_s=min(_MOST_WARM_UP_S, seconds / 5),
        fault_pause_s=options.fault_pause,
        limits=Limits(rss_mb=options.max_growth_mb),
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=_positive, default=10, help="(%(default)s)")
    parser.add_argument("--seed", type=int, help="of a run to repeat; it is printed")
    parser.add_argument("--rate", type=float, default=12, help="requests a second (%(default)s)")
    parser.add_argument(
        "--concurrency", type=int, default=64, help="requests at a time (%(default)s)"
    )
    parser.add_argument(
        "--fault-pause",
        type=float,
        default=8,
        metavar="S",
        help="between two faults, about; 0 for none (%(default)s)",
    )
    parser.add_argument(
        "--max-growth-mb",
        type=float,
        default=Limits.rss_mb,
        metavar="MB",
        help="growth of a process's RSS that is no leak (%(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes the result there")
    return parser.parse_args(arguments)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected more than 0, got {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
