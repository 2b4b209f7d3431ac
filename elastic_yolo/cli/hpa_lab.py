"""`elastic-yolo hpa-lab`: the autoscalers of the manifests, without a cluster."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

from elastic_yolo.cli.options import (
    MODEL_HELP,
    count,
    folder,
    model_folder,
    model_name,
    new_file,
    positive,
    resolve_model,
    tcp_port,
)
from elastic_yolo.lab.autoscaler.manifest import MANIFESTS, Tier, read_tiers
from elastic_yolo.lab.errors import AutoscalerError, LabFailed
from elastic_yolo.lab.lab import CONTROLLER, LOW, Lab, LabReport, Plan, Tick
from elastic_yolo.lab.load.arrivals import Arrivals, Shape
from elastic_yolo.lab.load.picture_load import MAX_IN_FLIGHT, MAX_RATE
from elastic_yolo.lab.processes.stack import DEMO_MODEL, has_repository
from elastic_yolo.lab.sample_pictures import SCENES, find_samples, read_labels
from elastic_yolo.lab.screen import LINE_HEAD, Screen, clock, line
from elastic_yolo.lab.simulate import Totals, Work, simulate
from elastic_yolo.lab.sizing import (
    REQUESTED,
    ScaledTiers,
    cores,
    require_tiers,
    scale_to_cores,
    with_max,
    with_target,
)
from elastic_yolo.lab.stays import Stays, Told, count_stays, describe_stays, foresee
from elastic_yolo.lab.timeline import Sample, append_samples
from elastic_yolo.progress import print_status

# docs/sizing.md: yolov3-tiny, int8.
_COSTS_MS = {"web": 1.0, "preprocess": 4.1, "inference": 10.5}
_STARTUP_S = 5.0
_SIMULATED_RATE = 300.0
_DURATION_S = {"lab": 180.0, "simulation": 1800.0}
_NO_REPOSITORY = (
    "hpa-lab starts the services, whose sources are in the repository only: run it in a checkout "
    "of elastic-yolo, or add --simulate"
)


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "hpa-lab",
        description="Run the three services as processes on this machine, put load on them, and "
        "scale every tier as its HorizontalPodAutoscaler would. With --simulate, calculate the "
        "same for modelled pods, any number of them, from the CPU cost of a picture.",
    )
    parser.add_argument(
        "--hpa", type=Path, default=MANIFESTS, metavar="PATH",
        help="file or folder with the manifests (default: those of k8s/base)",
    )  # fmt: skip
    parser.add_argument(
        "--simulate", action="store_true", help="calculate with modelled pods; start no processes"
    )
    parser.add_argument(
        "--target", type=_percent, metavar="PERCENT",
        help="CPU target of every tier, in per cent of the CPU request (default: the manifests')",
    )  # fmt: skip
    parser.add_argument(
        "--max-replicas", type=count, metavar="N",
        help="maxReplicas of every tier (default: the manifests'; in the lab, at most 4 or half "
        "the number of cores, whichever is larger)",
    )  # fmt: skip
    parser.add_argument(
        "--load", choices=get_args(Shape), default="step",
        help="shape of the load; none: a client of your own sends it (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--rate", type=positive, metavar="R",
        help="pictures per second at the peak, an eighth of it otherwise (default: in the lab, the "
        "measured rate for which inference needs nearly all its pods; in the simulation, "
        f"{_SIMULATED_RATE:.0f})",
    )  # fmt: skip
    parser.add_argument(
        "--duration",
        type=positive,
        metavar="S",
        help="seconds of load (default: 180 in the lab, 1800 in the simulation)",
    )
    parser.add_argument(
        "--timeline",
        type=new_file,
        metavar="FILE",
        help="write the observations and decisions of every sync to this file, as JSON lines",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    _add_lab_options(parser)
    _add_simulation_options(parser)
    parser.set_defaults(run=lambda parsed: run(parser, parsed))


def _add_lab_options(parser: argparse.ArgumentParser) -> None:
    lab = parser.add_argument_group("the lab")
    lab.add_argument(
        "--speed", type=positive, default=10.0, metavar="X",
        help="how many times faster than real time the autoscalers' clock runs (default: 10)",
    )  # fmt: skip
    lab.add_argument(
        "--model",
        type=model_name,
        default=DEMO_MODEL,
        metavar="MODEL",
        help=f"{MODEL_HELP} (default: the embedded models/demo)",
    )
    lab.add_argument(
        "--port", type=tcp_port, default=0, help="port of the web service (default: a free one)"
    )
    lab.add_argument(
        "--logs",
        type=folder,
        metavar="DIR",
        help="folder in which to keep the services' logs (default: delete them)",
    )


def _add_simulation_options(parser: argparse.ArgumentParser) -> None:
    simulation = parser.add_argument_group("the simulation")
    simulation.add_argument(
        "--cost-ms", type=_costs, default=_COSTS_MS, metavar="WEB,PREPROCESS,INFERENCE",
        help="CPU milliseconds of a picture in each tier (default: 1.0,4.1,10.5, docs/sizing.md)",
    )  # fmt: skip
    simulation.add_argument(
        "--startup-s", type=positive, default=_STARTUP_S, metavar="S",
        help="time from the start of a pod until it is ready (default: 5)",
    )  # fmt: skip


def run(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> int:
    """Run lab or simulation; the exit status is 1 if a picture of the lab's own load failed."""
    if parsed.simulate and parsed.load == "none":
        parser.error("--load none: a simulation needs a load")
    if not parsed.simulate and (parsed.rate or 0) > MAX_RATE:
        parser.error(f"--rate: the lab sends at most {MAX_RATE:.0f} pictures per second")
    try:
        if not (parsed.simulate or has_repository()):
            raise LabFailed(_NO_REPOSITORY)
        tiers = require_tiers(read_tiers(parsed.hpa))
        if parsed.target:
            tiers = {name: with_target(tier, parsed.target) for name, tier in tiers.items()}
        if parsed.timeline:
            parsed.timeline.write_text("", encoding="utf-8")
        for tier in tiers.values():
            for reason in foresee(tier):
                print(f"{tier.name}: {reason}", file=sys.stderr if parsed.json else sys.stdout)
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
    stays = count_stays(samples)
    if parsed.json:
        print(json.dumps({**asdict(totals), "stays": stays}, indent=2))
        return 0
    print(LINE_HEAD)
    told = Told()
    for sample in samples:
        new = told.is_new(sample)
        if sample.desired != sample.replicas:
            print(line(sample.at, sample))
        elif new:
            why = f"stays at {sample.replicas}: {sample.held}"
            print(line(sample.at, replace(sample, why=why)))
    print()
    print(_describe_totals(totals, duration_s, stays))
    return 0


def _describe_totals(totals: Totals, duration_s: float, stays: Stays) -> str:
    lines = [f"{'tier':<10}  {'most pods':>9}  {'changes':>7}  {'CPU h used':>10}  requested"]
    lines += [
        f"{one.tier:<10}  {one.peak_replicas:>9}  {one.changes:>7}  {one.cpu_hours:>10.2f}  "
        f"{one.requested_cpu_hours:>9.2f}"
        for one in totals.tiers
    ]
    lines += [
        "",
        *describe_stays(stays),
        f"{totals.pictures:,} pictures in {clock(duration_s)}, {totals.unserved:,} rejected",
        f"overloaded for {totals.overloaded_s} s, longest wait {totals.longest_wait_s} s",
    ]
    return "\n".join(lines)


def _run_lab(parsed: argparse.Namespace, tiers: dict[str, Tier]) -> int:
    model = model_folder(str(parsed.model))
    pictures = find_samples(read_labels(model)) or SCENES
    scaled_tiers = scale_to_cores(tiers, cores(), parsed.max_replicas)
    screen = Screen(sys.stderr if parsed.json else sys.stdout)
    with tempfile.TemporaryDirectory(prefix="hpa-lab-") as temporary:
        plan = Plan(
            scaled_tiers,
            resolve_model(str(parsed.model)),
            [path.read_bytes() for path in sorted(pictures.glob("*.jpg"))],
            parsed.load,
            parsed.duration or _DURATION_S["lab"],
            parsed.logs or Path(temporary),
            parsed.speed,
            parsed.rate,
            parsed.port,
        )
        lab = Lab(plan, screen.say)
        for text in _describe_plan(plan, scaled_tiers):
            screen.say(text)
        samples = list[Sample]()
        report = asyncio.run(_watch(lab, screen, parsed.timeline, samples))
    screen.finish()
    stays = count_stays(samples)
    if parsed.json:
        print(json.dumps({**_summarise(report, plan), "stays": stays}, indent=2))
    else:
        print(_describe_report(report, stays, own_load=plan.shape != "none"))
    return 1 if report.failed else 0


async def _watch(
    lab: Lab, screen: Screen, timeline: Path | None, samples: list[Sample]
) -> LabReport:
    """Run the lab until it ends, Ctrl-C is pressed or the terminal is closed; add its samples."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def show(tick: Tick) -> None:
        samples.extend(tick.samples)
        if timeline:
            append_samples(timeline, tick.samples)
        screen.show(_headline(tick, lab.plan), tick.elapsed_s, tick.samples)

    return await lab.run(show, stop)


def _headline(tick: Tick, plan: Plan) -> str:
    draining = sum(tick.terminating.values())
    return (
        f"{clock(tick.elapsed_s)} of {clock(plan.duration_s)}  {tick.rate:.1f} pictures/s  "
        f"{tick.load.sent} sent  {tick.load.failed} failed  {draining} pods draining"
    )


def _describe_plan(plan: Plan, scaled_tiers: ScaledTiers) -> list[str]:
    pods = ", ".join(
        f"{name} {tier.hpa.max_replicas} x {tier.request_milli}m"
        for name, tier in scaled_tiers.tiers.items()
    )
    period_s = CONTROLLER.sync_period_s / plan.speed
    return [
        f"CPU requests scaled to {100 * scaled_tiers.scale:.3g} % of the manifests', so that",
        f"those of all pods add up to at most {100 * REQUESTED:.0f} % of {cores()} cores:",
        f"  {pods}",
        f"the autoscalers' clock runs {plan.speed:g} times as fast: a sync every {period_s:g} s",
    ]


def _summarise(report: LabReport, plan: Plan) -> dict[str, Any]:
    """Return the summary for `--json`, whose field names are public."""
    summary = {
        "held_back" if name == "never_sent" else name: value
        for name, value in asdict(report).items()
    }
    return {**summary, "scale": plan.scaled_tiers.scale, "speed": plan.speed}


def _describe_report(report: LabReport, stays: Stays, *, own_load: bool) -> str:
    lines = [f"\n{'tier':<10}  {'most pods':>9}  {'now':>3}  {'changes':>7}  CPU s"]
    lines += [
        f"{one.tier:<10}  {one.peak_replicas:>9}  {one.last_replicas:>3}  {one.changes:>7}  "
        f"{one.cpu_s:>5.1f}"
        for one in report.tiers
    ]
    lines += ["", *describe_stays(stays)]
    if not own_load:
        lines.append(f"{clock(report.duration_s)}, no load of the lab's own")
        return "\n".join(lines)
    lines.append(
        f"{report.pictures} pictures in {clock(report.duration_s)}, {report.failed} failed"
    )
    if report.never_sent:
        lines.append(
            f"{report.never_sent} never sent: the client's limit of {MAX_IN_FLIGHT} pictures in "
            "flight was reached"
        )
    if report.first_failure:
        lines.append(f"the first failure: {report.first_failure}")
    return "\n".join(lines)


def _percent(text: str) -> int:
    if text.isdecimal() and 0 < int(text) <= 1000:
        return int(text)
    raise argparse.ArgumentTypeError("expected a whole number of per cent, 1 to 1000")


def _costs(text: str) -> dict[str, float]:
    parts = text.split(",")
    if len(parts) != len(_COSTS_MS):
        raise argparse.ArgumentTypeError("expected three numbers separated by commas")
    return dict(zip(_COSTS_MS, map(positive, parts), strict=True))
