"""`elastic-yolo hpa-lab`: the autoscalers of the manifests, without a cluster."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from elastic_yolo.cli.hpa_simulation import (
    RATE,
    STARTUP_S,
    say_foreseen,
    simulate_consumers,
    simulate_tiers,
)
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
from elastic_yolo.lab.autoscaler.metrics_server import LEAST_RESOLUTION_S, RESOLUTION_S
from elastic_yolo.lab.errors import AutoscalerError, LabFailed
from elastic_yolo.lab.lab import CONTROLLER, Lab, LabReport, Plan, Tick
from elastic_yolo.lab.load.arrivals import Shape
from elastic_yolo.lab.load.picture_load import MAX_IN_FLIGHT, MAX_RATE
from elastic_yolo.lab.processes.stack import DEMO_MODEL, has_repository
from elastic_yolo.lab.sample_pictures import SCENES, find_samples, read_labels
from elastic_yolo.lab.screen import Screen, clock
from elastic_yolo.lab.sizing import (
    REQUESTED,
    ScaledTiers,
    cores,
    require_tiers,
    scale_to_cores,
    with_target,
)
from elastic_yolo.lab.stays import Stays, count_stays, describe_stays, foresee
from elastic_yolo.lab.timeline import Sample, append_samples
from elastic_yolo.progress import print_status
from elastic_yolo.tiers import TIERS

_DURATION_S = 180.0
_LAB_OPTIONS = ("speed", "model", "port", "logs")
_SIMULATION_OPTIONS = ("cost_ms", "startup_s")
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
        "same for modelled pods, any number of them, from the CPU cost of a picture; with "
        "--stream as well, for the consumers of a stream that are scaled on its lag.",
    )
    parser.add_argument(
        "--hpa", type=Path, metavar="PATH",
        help="file or folder with the manifests, or a component with ScaledObjects (default: "
        "those of k8s/base, or with --stream those of k8s/components/stream)",
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
        f"{RATE:.0f})",
    )  # fmt: skip
    parser.add_argument(
        "--duration",
        type=positive,
        metavar="S",
        help="seconds of load (default: 180 in the lab, 1800 in the simulation)",
    )
    parser.add_argument(
        "--metrics-resolution", type=_resolution, default=RESOLUTION_S, metavar="S",
        help="seconds between two scrapes of metrics-server, of the autoscalers' clock (default: "
        "15; minikube's addon: 60)",
    )  # fmt: skip
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
        "--stream", action="store_true",
        help="simulate the consumers of a stream, scaled on its lag by KEDA or by an HPA with an "
        "External metric",
    )  # fmt: skip
    simulation.add_argument(
        "--cost-ms", type=_costs, metavar="WEB,PREPROCESS,INFERENCE",
        help="CPU milliseconds of a picture in each tier (default: 1.0,4.1,10.5, docs/sizing.md); "
        "with --stream one number (default: 14.6)",
    )  # fmt: skip
    simulation.add_argument(
        "--startup-s", type=positive, default=STARTUP_S, metavar="S",
        help="time from the start of a pod until it is ready (default: 5)",
    )  # fmt: skip


def run(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> int:
    """Run lab or simulation; the exit status is 1 if a picture of the lab's own load failed."""
    _check(parser, parsed)
    try:
        if not (parsed.simulate or has_repository()):
            raise LabFailed(_NO_REPOSITORY)
        if parsed.timeline:
            parsed.timeline.write_text("", encoding="utf-8")
        if parsed.stream:
            return simulate_consumers(parsed)
        tiers = require_tiers(read_tiers(parsed.hpa or MANIFESTS))
        if parsed.target:
            tiers = {
                name: tier if tier.keda else with_target(tier, parsed.target)
                for name, tier in tiers.items()
            }
        for tier in tiers.values():
            say_foreseen(parsed, tier.name, foresee(tier, with_external=tier.keda is not None))
        return simulate_tiers(parsed, tiers) if parsed.simulate else _run_lab(parsed, tiers)
    except AutoscalerError as error:
        print_status(f"elastic-yolo: {error}")
        return 1


def _check(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    """End with a usage error if options do not go together."""
    ignored = _LAB_OPTIONS if parsed.simulate else _SIMULATION_OPTIONS
    for name in ignored:
        if getattr(parsed, name) != parser.get_default(name):
            where = "the lab, not with --simulate" if parsed.simulate else "--simulate"
            parser.error(f"--{name.replace('_', '-')}: only with {where}")
    if parsed.simulate and parsed.load == "none":
        parser.error("--load none: a simulation needs a load")
    if not parsed.simulate and (parsed.rate or 0) > MAX_RATE:
        parser.error(f"--rate: the lab sends at most {MAX_RATE:.0f} pictures per second")
    if parsed.stream and not parsed.simulate:
        parser.error("--stream: there is only a simulation of it; add --simulate")
    if parsed.stream and parsed.target:
        parser.error("--target: a target of CPU; a stream's consumers are scaled on its lag")
    expected = 1 if parsed.stream else len(TIERS)
    if parsed.cost_ms and len(parsed.cost_ms) != expected:
        parser.error(f"--cost-ms: expected {expected} number{'s' if expected > 1 else ''}")


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
            parsed.duration or _DURATION_S,
            parsed.logs or Path(temporary),
            parsed.speed,
            parsed.rate,
            parsed.port,
            parsed.metrics_resolution,
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
        f"{report.pictures} pictures in {clock(report.duration_s)}, {report.failed} failed, "
        f"the slowest response after {report.slowest_s:.1f} s"
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


def _resolution(text: str) -> float:
    seconds = positive(text)
    if seconds < LEAST_RESOLUTION_S:
        raise argparse.ArgumentTypeError(f"metrics-server has {LEAST_RESOLUTION_S:.0f} s at least")
    return seconds


def _costs(text: str) -> tuple[float, ...]:
    return tuple(map(positive, text.split(",")))
