"""`elastic-yolo hpa-lab`: the autoscalers of the manifests at work, without a cluster."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

from elastic_yolo.cli.options import count, folder, new_file
from elastic_yolo.lab.autoscaler.manifest import MANIFESTS, Tier, read_tiers
from elastic_yolo.lab.errors import AutoscalerError
from elastic_yolo.lab.lab import CONTROLLER, LOW, Lab, LabReport, Plan, Tick
from elastic_yolo.lab.load.arrivals import Arrivals, Shape
from elastic_yolo.lab.load.picture_load import MAX_RATE
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT
from elastic_yolo.lab.screen import Screen, clock, line
from elastic_yolo.lab.simulate import Totals, Work, simulate
from elastic_yolo.lab.sizing import Sized, cores, fit, pick, with_max
from elastic_yolo.lab.timeline import Sample, append_samples
from elastic_yolo.progress import print_status

_PICTURES = ROOT / "client" / "images"
# docs/sizing.md: yolov3-tiny, int8.
_COSTS_MS = {"web": 1.0, "preprocess": 4.1, "inference": 10.5}
_STARTUP_S = 5.0
_SIMULATED_RATE = 300.0
_DURATION_S = {"lab": 180.0, "simulation": 1800.0}


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "hpa-lab",
        description="Run the three services as processes on this machine, put load on them, and "
        "scale every tier as its HorizontalPodAutoscaler would. Or calculate the same from what a "
        "picture costs (--simulate), with as many pods as you like.",
    )
    parser.add_argument(
        "--hpa",
        type=Path,
        default=MANIFESTS,
        metavar="PATH",
        help="manifests, a file or a folder (k8s/base)",
    )
    parser.add_argument("--simulate", action="store_true", help="calculate, start no processes")
    parser.add_argument(
        "--load", choices=get_args(Shape), default="step", help="shape of the load; none: your own "
        "client brings it (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--rate", type=_positive, metavar="R",
        help="pictures a second at its height (lab: measured, so that most pods are needed; "
        f"simulation: {_SIMULATED_RATE:.0f}); an eighth of it between",
    )  # fmt: skip
    parser.add_argument(
        "--duration", type=_positive, metavar="S", help="seconds (lab: 180, simulation: 1800)"
    )
    parser.add_argument(
        "--max-replicas", type=count, metavar="N",
        help="of every tier (lab: the manifest's, at most 4 or half as many as there are cores)",
    )  # fmt: skip
    parser.add_argument("--timeline", type=new_file, metavar="FILE", help="write JSON lines there")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    _add_lab_options(parser)
    _add_simulation_options(parser)
    parser.set_defaults(run=lambda parsed: run(parser, parsed))


def _add_lab_options(parser: argparse.ArgumentParser) -> None:
    lab = parser.add_argument_group("the lab")
    lab.add_argument(
        "--speed", type=_positive, default=10.0, metavar="X",
        help="how much faster than time the autoscalers' clock runs (10)",
    )  # fmt: skip
    lab.add_argument(
        "--scale", type=_positive, metavar="F",
        help="multiply requests and limits with this (so that all pods fit this machine)",
    )  # fmt: skip
    lab.add_argument("--model", type=folder, default=DEMO_MODEL, help="folder (models/demo)")
    lab.add_argument("--port", type=_port, default=0, help="where pictures go to (a free one)")
    lab.add_argument("--logs", type=folder, metavar="DIR", help="keep the services' logs there")


def _add_simulation_options(parser: argparse.ArgumentParser) -> None:
    simulation = parser.add_argument_group("the simulation")
    simulation.add_argument(
        "--cost-ms", type=_costs, default=_COSTS_MS, metavar="WEB,PREPROCESS,INFERENCE",
        help="CPU milliseconds of a picture (1.0,4.1,10.5: docs/sizing.md)",
    )  # fmt: skip
    simulation.add_argument(
        "--startup-s", type=_positive, default=_STARTUP_S, metavar="S",
        help="until a new pod takes traffic (5)",
    )  # fmt: skip


def run(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> int:
    """Do it; the exit status is 1 if a picture of the lab's own load was not answered."""
    if parsed.simulate and parsed.load == "none":
        parser.error("--load none: a simulation needs a load")
    if not parsed.simulate and (parsed.rate or 0) > MAX_RATE:
        parser.error(f"--rate: the lab sends {MAX_RATE:.0f} pictures a second at most")
    try:
        tiers = pick(read_tiers(parsed.hpa))
        if parsed.timeline:
            parsed.timeline.write_text("", encoding="utf-8")
        return _simulate(parsed, tiers) if parsed.simulate else _run_lab(parsed, tiers)
    except AutoscalerError as error:
        print_status(f"elastic-yolo: {error}")
        return 1


def _simulate(parsed: argparse.Namespace, tiers: dict[str, Tier]) -> int:
    duration_s = parsed.duration or _DURATION_S["simulation"]
    rate = parsed.rate or _SIMULATED_RATE
    began, samples = time.time(), list[Sample]()
    totals = simulate(
        [
            (
                with_max(tier, parsed.max_replicas) if parsed.max_replicas else tier,
                Work(parsed.cost_ms[name] / 1000, parsed.startup_s),
            )
            for name, tier in tiers.items()
        ],
        Arrivals(parsed.load, rate * LOW, rate, duration_s),
        CONTROLLER,
        samples.append,
    )
    if parsed.timeline:
        append_samples(parsed.timeline, [replace(one, at=began + one.at) for one in samples])
    if parsed.json:
        print(json.dumps(asdict(totals), indent=2))
        return 0
    for sample in samples:
        if sample.desired != sample.replicas:
            print(line(sample.at, sample))
    print()
    print(_describe_totals(totals, duration_s))
    return 0


def _describe_totals(totals: Totals, duration_s: float) -> str:
    lines = [f"{'tier':<10}  {'most pods':>9}  {'changes':>7}  {'CPU h used':>10}  requested"]
    lines += [
        f"{one.tier:<10}  {one.peak_replicas:>9}  {one.changes:>7}  {one.cpu_hours:>10.2f}  "
        f"{one.requested_cpu_hours:>9.2f}"
        for one in totals.tiers
    ]
    lines += [
        f"{totals.pictures:,} pictures in {clock(duration_s)}, {totals.unserved:,} of them refused",
        f"overloaded for {totals.overloaded_s} s, longest wait {totals.longest_wait_s} s",
    ]
    return "\n".join(lines)


def _run_lab(parsed: argparse.Namespace, tiers: dict[str, Tier]) -> int:
    sized = fit(tiers, cores(), parsed.max_replicas, parsed.scale)
    screen = Screen(sys.stderr if parsed.json else sys.stdout)
    with tempfile.TemporaryDirectory(prefix="hpa-lab-") as temporary:
        plan = Plan(
            sized,
            parsed.model,
            [path.read_bytes() for path in sorted(_PICTURES.glob("*.jpg"))],
            parsed.load,
            parsed.duration or _DURATION_S["lab"],
            parsed.logs or Path(temporary),
            parsed.speed,
            parsed.rate,
            parsed.port,
        )
        lab = Lab(plan, screen.say)
        for text in _describe_plan(plan, sized):
            screen.say(text)
        report = asyncio.run(_watch(lab, screen, parsed.timeline))
    screen.finish()
    if parsed.json:
        print(json.dumps({**asdict(report), "scale": sized.scale, "speed": plan.speed}, indent=2))
    else:
        print(_describe_report(report, own_load=plan.shape != "none"))
    return 1 if report.failed else 0


async def _watch(lab: Lab, screen: Screen, timeline: Path | None) -> LabReport:
    """Run the lab until it ends, or somebody presses Ctrl-C or closes the terminal."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def tell(tick: Tick) -> None:
        if timeline:
            append_samples(timeline, tick.samples)
        screen.show(_headline(tick, lab.plan), tick.elapsed_s, tick.samples)

    return await lab.run(tell, stop)


def _headline(tick: Tick, plan: Plan) -> str:
    draining = sum(tick.terminating.values())
    return (
        f"{clock(tick.elapsed_s)} of {clock(plan.duration_s)}, {tick.rate:.1f} pictures a second, "
        f"{tick.load.sent} answered, {tick.load.failed} failed, {draining} pods draining"
    )


def _describe_plan(plan: Plan, sized: Sized) -> list[str]:
    parts = [
        f"{name} {tier.request_milli}m (1 to {tier.hpa.max_replicas} pods)"
        for name, tier in sized.tiers.items()
    ]
    period_s = CONTROLLER.sync_period_s / plan.speed
    return [
        f"CPU requests, scaled by {sized.scale:g} for {cores()} cores: {', '.join(parts)}",
        f"the autoscalers' clock runs {plan.speed:g} times as fast: a look every {period_s:g} s",
    ]


def _describe_report(report: LabReport, *, own_load: bool) -> str:
    lines = [f"\n{'tier':<10}  {'most pods':>9}  {'now':>3}  {'changes':>7}  CPU s"]
    lines += [
        f"{one.tier:<10}  {one.peak_replicas:>9}  {one.last_replicas:>3}  {one.changes:>7}  "
        f"{one.cpu_s:>5.1f}"
        for one in report.tiers
    ]
    if not own_load:
        lines.append(f"{clock(report.duration_s)} without a load of its own")
        return "\n".join(lines)
    held = f", {report.held_back} held back because too many were under way"
    lines.append(
        f"{report.pictures} pictures in {clock(report.duration_s)}, {report.failed} failed"
        + (held if report.held_back else "")
    )
    if report.first_failure:
        lines.append(f"the first that failed: {report.first_failure}")
    return "\n".join(lines)


def _positive(text: str) -> float:
    with suppress(ValueError):
        if 0 < (value := float(text)) < float("inf"):
            return value
    raise argparse.ArgumentTypeError("expected a number above 0")


def _port(text: str) -> int:
    if text.isdecimal() and int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError("expected a port, or 0 for a free one")


def _costs(text: str) -> dict[str, float]:
    parts = text.split(",")
    if len(parts) != len(_COSTS_MS):
        raise argparse.ArgumentTypeError("expected three numbers with commas between them")
    return dict(zip(_COSTS_MS, map(_positive, parts), strict=True))
