"""`python -m loadtest run`: generate load, record the pods, write a report, check objectives."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from loadtest.errors import LoadTestError
from loadtest.plan import Plan
from loadtest.shapes import MAX_DURATION_S, MAX_USERS, MIN_DURATION_S, SUMMARIES
from loadtest.slo import parse_objectives
from loadtest.sources import Source
from loadtest.urls import describe_host, parse_url, without_user

T = TypeVar("T")

# 0: every objective is met. 1: one is not, or the run failed. 2: wrong usage (argparse).
FAILED = 1
_NAMESPACE = "elastic-yolo"
_IMAGES = Path(__file__).resolve().parent.parent / "client" / "images"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parsed = _parser().parse_args(given)
    try:
        return _run(parsed, given)
    except (LoadTestError, OSError) as error:
        print(f"loadtest: {error}", file=sys.stderr)
    except ModuleNotFoundError as error:
        print(
            f"loadtest: needs {error.name}, which is not in this environment: "
            "run `make load-tools`, then .venv-load/bin/python -m loadtest",
            file=sys.stderr,
        )
    except KeyboardInterrupt:
        print("loadtest: stopped", file=sys.stderr)
    return FAILED


def _run(parsed: argparse.Namespace, given: list[str]) -> int:
    # Their dependencies are in .venv-load only; --help and wrong usage do not need them.
    from loadtest.report import write_report  # noqa: PLC0415
    from loadtest.result import to_json  # noqa: PLC0415
    from loadtest.run import run  # noqa: PLC0415
    from loadtest.terminal import to_lines  # noqa: PLC0415

    plan = Plan(
        shape=parsed.shape,
        target=parsed.target,
        users=parsed.users,
        duration_s=parsed.duration,
        folder=parsed.out,
        pictures=parsed.pictures,
        wait_s=parsed.wait,
        objectives=parsed.slo,
        command=_printable(given, parsed),
    )
    _print_target(plan)
    result = run(plan, _source(parsed))
    write_report(result)
    encoded = json.dumps(to_json(result), indent=2)
    plan.summary.write_text(encoded + "\n", encoding="utf-8")
    print(encoded if parsed.json else "\n".join(to_lines(result)))
    if not result.complete:
        raise LoadTestError("stopped; the report covers the run until then")
    if not result.summary.served:
        raise LoadTestError(f"no picture was served: see {plan.folder / 'locust_failures.csv'}")
    unmet = [one.objective.name for one in result.verdicts if not one.met]
    if unmet:
        raise LoadTestError(f"objectives not met: {', '.join(unmet)}")
    return 0


def _print_target(plan: Plan) -> None:
    try:
        host = describe_host(plan.target)
    except OSError as error:
        raise LoadTestError(f"{without_user(plan.target)}: {error.strerror}") from error
    print(
        f"sending up to {plan.users} pictures per second for {plan.duration_s:.0f} s to "
        f"{without_user(plan.target)} ({host})",
        file=sys.stderr,
    )


def _source(parsed: argparse.Namespace) -> Source | None:
    # As above; a timeline file needs neither httpx nor kubectl.
    if parsed.timeline is not None:
        from loadtest.sources.timeline import TimelineFile  # noqa: PLC0415

        return TimelineFile(parsed.timeline)
    if parsed.prometheus is not None:
        from loadtest.sources.prometheus import Prometheus  # noqa: PLC0415

        return Prometheus(parsed.prometheus, parsed.namespace)
    if parsed.kubernetes is not None:
        from loadtest.sources.kubernetes import Cluster  # noqa: PLC0415

        return Cluster(parsed.kubernetes)
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest", description="Load tests of the web service, with locust."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    shapes = "; ".join(f"{name}: {summary}" for name, summary in SUMMARIES.items())
    command = commands.add_parser(
        "run",
        help="generate load and write a report",
        description="Send pictures to the web service and write a report: rates, latencies and "
        "status codes, and below them replicas and CPU of the tiers. A user sends one picture per "
        "second, or fewer while responses take longer. Exit status: 0 if every objective is met, "
        "1 if not or if the run failed, 2 for wrong usage.",
        epilog=f"Shapes are {shapes}. ELASTIC_YOLO_TOKEN in the environment is sent as the bearer "
        "token.",
    )
    command.add_argument(
        "--shape", choices=sorted(SUMMARIES), required=True, help="shape of the load"
    )
    command.add_argument(
        "--target", type=_checked(parse_url), required=True, metavar="URL", help="the web service"
    )
    command.add_argument(
        "--users",
        type=_whole(1, MAX_USERS),
        default=20,
        metavar="N",
        help="at the peak (%(default)s)",
    )
    command.add_argument(
        "--duration",
        type=_whole(MIN_DURATION_S, MAX_DURATION_S),
        default=120,
        metavar="S",
        help="in seconds (%(default)s)",
    )
    command.add_argument(
        "--out", type=Path, default=Path("load-report"), metavar="DIR",
        help="folder of the report (%(default)s); replaces an earlier report",
    )  # fmt: skip
    command.add_argument(
        "--pictures", type=_folder, default=_IMAGES, metavar="DIR",
        help="folder of the pictures to send (client/images; client/photos has photographs)",
    )  # fmt: skip
    command.add_argument(
        "--wait",
        type=_whole(0, MAX_DURATION_S),
        default=30,
        metavar="S",
        help="how long to wait for a service that is starting (%(default)s)",
    )
    sources = command.add_mutually_exclusive_group()
    sources.add_argument(
        "--timeline",
        type=_file,
        metavar="FILE",
        help="replicas from a file of elastic-yolo hpa-lab",
    )
    sources.add_argument(
        "--prometheus",
        type=_checked(parse_url),
        metavar="URL",
        help="replicas and CPU from Prometheus",
    )
    sources.add_argument(
        "--kubernetes", nargs="?", const=_NAMESPACE, metavar="NAMESPACE",
        help="replicas and CPU from kubectl's current cluster (namespace %(const)s)",
    )  # fmt: skip
    command.add_argument(
        "--namespace", default=_NAMESPACE, metavar="NAME",
        help="namespace of the kube_* metrics in Prometheus (%(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--slo", type=_checked(parse_objectives), default=(), metavar="LIST",
        help="objectives, such as p95=800ms,p99=1.5s,errors=0.1%%,rejected=2%%,rate=20/s",
    )  # fmt: skip
    command.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser


def _checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    def check(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return check


def _whole(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or not lowest <= int(text) <= highest:
            raise argparse.ArgumentTypeError(
                f"{text}: expected a whole number, {lowest} to {highest}"
            )
        return int(text)

    return parse


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"no such folder: {text}")
    return path


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"no such file: {text}")
    return path


def _printable(given: list[str], parsed: Any) -> str:
    """Return the command without passwords in addresses."""
    text = shlex.join(["python", "-m", "loadtest", *given])
    for url in filter(None, (parsed.target, parsed.prometheus)):
        text = text.replace(url, without_user(url))
    return text


if __name__ == "__main__":
    sys.exit(main())
