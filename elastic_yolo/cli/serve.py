"""`elastic-yolo serve`: the three services on this machine, until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any

from elastic_yolo.cli.options import (
    absolute_path,
    add_engine_options,
    count,
    model_name,
    resolve_model,
    tcp_port,
)
from elastic_yolo.lab.processes.answered import Answered, read_answered
from elastic_yolo.lab.processes.log_lines import LogFollower, notable
from elastic_yolo.lab.processes.port_choice import choose_ports
from elastic_yolo.lab.processes.stack import DEMO_MODEL, LOOPBACK, Stack, StackError, has_repository
from elastic_yolo.lab.processes.supervisor import Supervisor, Waiting
from elastic_yolo.lab.sample_pictures import (
    find_calibration,
    find_samples,
    first_picture,
    read_labels,
)
from elastic_yolo.lab.screen import clock
from elastic_yolo.machine import read_cpu_quota
from elastic_yolo.names import STORE_SCHEME
from elastic_yolo.progress import StatusLine, print_status
from elastic_yolo.provision.zoo.cache import models_folder
from elastic_yolo.tiers import PORTS

_NO_REPOSITORY = (
    "serve starts the services, whose sources are in the repository only: run it in a checkout of "
    "elastic-yolo, or run the images (docker compose up)"
)
_TLS_FILES = ("TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CA_FILE")
_NO_TLS = (
    "serve connects its services without TLS: unset these variables, or start the services as "
    "docs/tls.md does"
)
_SETTINGS = {
    "engine": "ENGINE",
    "precision": "PRECISION",
    "device": "DEVICE",
    "threads": "THREADS",
    "cache": "CACHE_DIR",
}
# Of a burst of warnings; all of them are in the log.
_MAX_LINES_AT_ONCE = 5
_COUNT_EVERY_S = 1.0
# A web that is busy or stopped must not delay the end.
_COUNT_TIMEOUT_S = 1.0
_ALL_ADDRESSES = {"0.0.0.0": "IPv4", "::": "IPv6"}  # noqa: S104
# Variables that name files, which may be relative to the user's folder: of inference and web, and
# of preprocess.
_PATHS = re.compile(
    r"CACHE_DIR|CALIBRATION_DIR|MODEL_[A-Z0-9_]+_PATH"
    r"|ACCESS_TOKEN_FILE|API_KEYS_FILE|LIMIT_REDIS_URL_FILE"
)
_ROUTING_PATHS = re.compile(r"ROUTES|ETCD_(CA|CERT|KEY)_FILE")


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "serve",
        description="Run the three services on this machine until Ctrl-C, which lets requests in "
        "progress finish; a second Ctrl-C kills the services. Settings of the services in the "
        "environment stay valid where no option replaces them.",
    )
    parser.add_argument(
        "model", nargs="?", default=str(DEMO_MODEL), metavar="MODEL",
        help="model folder, name in the zoo, or store:FOLDER/NAME@CHANNEL (default: the embedded "
        "models/demo)",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=tcp_port, default=PORTS["web"],
        help="port of the web service, 0 for any (default: %(default)s); the other services take "
        "their usual ports, or free ones",
    )  # fmt: skip
    parser.add_argument(
        "--host", default=LOOPBACK,
        help="address that the web service listens on; 0.0.0.0 lets other machines connect "
        "(default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--inference", type=count, default=1, metavar="N",
        help="inference processes; each gets its share of the CPUs (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--live-load", action="store_true",
        help="let the page /live make load: up to 50 pictures per second for a minute",
    )  # fmt: skip
    parser.add_argument(
        "--verbose", action="store_true", help="show the services' logs, a line for each picture"
    )
    parser.add_argument(
        "--json", action="store_true", help="print addresses and model as one JSON object"
    )
    add_engine_options(parser)
    # An option that is not given leaves the variable of the environment alone.
    parser.set_defaults(run=lambda parsed: run(parser, parsed), **dict.fromkeys(_SETTINGS))


def run(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> int:
    """Serve until a signal; the exit status is 1 if a service failed or was killed."""
    if not has_repository():
        print_status(f"elastic-yolo: {_NO_REPOSITORY}")
        return 1
    try:
        if not parsed.model.startswith(STORE_SCHEME):
            model_name(parsed.model)
    except argparse.ArgumentTypeError as error:
        parser.error(f"argument MODEL: {error}")
    tls = [name for name in _TLS_FILES if os.environ.get(name)]
    if tls:
        print_status(f"elastic-yolo: {', '.join(tls)}: {_NO_TLS}")
        return 1
    logs = None if parsed.verbose else Path(tempfile.mkdtemp(prefix="elastic-yolo-serve-"))
    # On here, where one person tries things out; off where a service is by itself.
    explaining = {} if os.environ.get("EXPLAIN") else {"EXPLAIN": "true"}
    failure = ""
    try:
        with choose_ports(parsed.port, parsed.host, parsed.inference) as ports:
            # After the ports: nobody waits for a download to learn that a port is taken.
            model = resolve_model(parsed.model)
            stack = Stack(
                model=model,
                ports=ports,
                logs=logs,
                env={
                    "inference": inference_settings(parsed, model),
                    "web": {
                        **explaining,
                        **absolute_paths(os.environ),
                        **({"LIVE_LOAD": "true"} if parsed.live_load else {}),
                    },
                    "preprocess": {**explaining, **absolute_paths(os.environ, _ROUTING_PATHS)},
                },
                host=parsed.host,
                own_session=True,
            )
            failure = Serving(stack, logs, as_json=parsed.json).run()
    except StackError as error:
        failure = str(error)
    finally:
        kept = _remove_unneeded(logs, failed=bool(failure) or sys.exception() is not None)
    if not failure:
        return 0
    print_status(f"elastic-yolo: {failure}" + (f" (logs: {kept})" if kept else ""))
    return 1


def absolute_paths(
    environment: Mapping[str, str], names: re.Pattern[str] = _PATHS
) -> dict[str, str]:
    """Return the variables that name files with absolute paths: services run in another folder."""
    return {
        name: absolute_path(value)
        for name, value in environment.items()
        if value and names.fullmatch(name)
    }


def inference_settings(parsed: argparse.Namespace, model: Path | str) -> dict[str, str]:
    """Return the settings of the inference processes that the options and this machine require."""
    settings = {
        variable: str(value)
        for name, variable in _SETTINGS.items()
        if (value := getattr(parsed, name)) is not None
    }
    if parsed.cache is None and not os.environ.get("CACHE_DIR"):
        settings["CACHE_DIR"] = str(default_cache())
    if parsed.inference > 1 and parsed.threads is None and not os.environ.get("THREADS"):
        cpus = min(len(os.sched_getaffinity(0)), read_cpu_quota() or float("inf"))
        settings["THREADS"] = str(max(1, int(cpus / parsed.inference)))
    if isinstance(model, Path) and not os.environ.get("CALIBRATION_DIR"):
        # Without pictures that suit the model, inference measures with those of requests.
        pictures = find_calibration(read_labels(model))
        settings |= {"CALIBRATION_DIR": str(pictures)} if pictures else {}
    return settings | absolute_paths({**os.environ, **settings})


def default_cache() -> Path:
    """Return the folder in which serve keeps compiled models by default."""
    return models_folder().parent / "cache"


def _remove_unneeded(logs: Path | None, *, failed: bool) -> Path | None:
    """Remove the logs of a run without a failure; return the folder if it stays."""
    if logs is None or (failed and any(logs.iterdir())):
        return logs
    shutil.rmtree(logs, ignore_errors=True)
    return None


class Serving:
    """One run of the command, and its output."""

    def __init__(self, stack: Stack, logs: Path | None, *, as_json: bool) -> None:
        """Prepare; nothing is started."""
        self._stack = stack
        self._supervisor = Supervisor(stack)
        self._status = StatusLine(shared=logs is None)
        self._followers = [LogFollower(one.log) for one in stack.services if one.log]
        self._logs = logs
        self._as_json = as_json
        self._announced: set[str] = set()
        self._began = self._counted_at = time.monotonic()
        self._state = ""

    def run(self) -> str:
        """Serve until a signal; return "" or what went wrong. Raises StackError and OSError."""
        supervisor = self._supervisor
        answered = None
        with supervisor.handling_signals():
            try:
                with self._stack.starting():
                    if supervisor.wait_ready(self._show_start):
                        self._announce()
                        supervisor.watch(self._say, self._tick)
                        answered = self._count_pictures()
                    self._status.show("stopping when requests in progress have finished ...")
            finally:
                self._status.clear()
        if answered is not None and not self._as_json:
            print("\n".join(["", *answered.table()]), flush=True)
        return "killed before requests in progress had finished" if supervisor.killed else ""

    def _say(self, text: str) -> None:
        self._status.clear()
        print_status(text)
        self._status.show(self._state)

    def _tick(self) -> None:
        """Report the logs' events, and keep the last line of a terminal up to date."""
        self._report_events()
        now = time.monotonic()
        if not self._status.terminal or now - self._counted_at < _COUNT_EVERY_S:
            return
        self._counted_at = now
        if answered := self._count_pictures():
            running = sum(one.is_running() for one in self._stack.services)
            processes = f"{running} of {len(self._stack.services)} processes"
            passed = f"up {clock(now - self._began)}"
            self._state = f"{self._stack.web.url}/  {answered.state()}  {processes}  {passed}"
            self._status.show(self._state)

    def _count_pictures(self) -> Answered | None:
        """Return how web answered pictures; None if it does not say at once."""
        port = int(os.environ.get("METRICS_PORT") or self._stack.web.port)
        try:
            metrics = replace(self._stack.web, port=port).get("/metrics", _COUNT_TIMEOUT_S)
        except (OSError, HTTPException):
            return None
        return read_answered(metrics.decode(errors="replace"))

    def _show_start(self, waiting: Waiting, elapsed_s: float) -> None:
        """Show the seconds of each process; a log gets a line for each that becomes ready."""
        for name, ready_s in waiting.items():
            if ready_s is not None and not self._status.terminal and name not in self._announced:
                self._announced.add(name)
                print_status(f"{name} ready after {ready_s:.1f} s")
        missing = [name for name, ready_s in waiting.items() if ready_s is None]
        self._status.show(f"starting for {elapsed_s:.0f} s: {', '.join(missing)}")

    def _announce(self) -> None:
        summary = summarise(self._stack)
        self._status.clear()
        if self._as_json:
            print(json.dumps(summary.to_json()), flush=True)
            return
        lines = summary.lines(self._stack.web.host, self._logs, variable=_token_variable())
        print("\n".join(lines), flush=True)

    def _report_events(self) -> None:
        """Print what people should see of the services' logs since the last call."""
        for follower in self._followers:
            lines = [
                line for one in follower.read_events() if (line := notable(one, follower.path.stem))
            ]
            for line in lines[:_MAX_LINES_AT_ONCE]:
                self._say(line)
            if len(lines) > _MAX_LINES_AT_ONCE:
                self._say(f"and {len(lines) - _MAX_LINES_AT_ONCE} more in {follower.path}")


def _token_variable() -> str | None:
    """Return a name for what requests must carry, None if they need nothing."""
    names = {"ACCESS_TOKEN": "ACCESS_TOKEN", "API_KEYS_FILE": "KEY", "OIDC_ISSUER": "TOKEN"}
    return next((names[one] for one in names if os.environ.get(one)), None)


@dataclass(frozen=True)
class Summary:
    """What serves where."""

    web: str
    preprocess: str
    inference: list[str]
    grpc: list[str]
    model: str
    engine: str
    precision: str
    device: str
    pictures: Path | None
    """The folder of sample pictures that suit the model."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        pictures = None if self.pictures is None else str(self.pictures)
        return vars(self) | {"pictures": pictures}

    def lines(self, host: str, logs: Path | None, *, variable: str | None = None) -> list[str]:
        """Return it as text for a terminal; `variable` has the token that web requires."""
        family = _ALL_ADDRESSES.get(host)
        everywhere = f" (and all other {family} addresses of this machine)" if family else ""
        picture = "photo.jpg" if self.pictures is None else _shorten(first_picture(self.pictures))
        form = shlex.quote(f"image=@{picture}")
        header = f'-H "Authorization: Bearer ${variable}" ' if variable else ""
        rows = {
            "page": f"{self.web}/{everywhere}",
            "live": f"{self.web}/live",
            "try": f"curl {header}-F {form} {self.web}/inference",
            "preprocess": self.preprocess,
            "inference": ", ".join(self.inference),
            "gRPC": ", ".join(self.grpc),
            "identity": "required" if variable else "none: anyone may send pictures",
        }
        if logs:
            rows["logs"] = str(logs)
        return [
            f"serving {self.model}: {self.engine}, {self.precision}, {self.device}",
            "",
            *(f"  {name:<11} {text}" for name, text in rows.items()),
            "",
            "Ctrl-C stops all of it.",
        ]


def summarise(stack: Stack) -> Summary:
    """Return the addresses and the model of a stack that is ready; raises OSError."""
    name = json.loads(stack.inference.get("/v2"))["models"][0]
    facts = json.loads(stack.inference.get(f"/v2/models/{name}"))["parameters"]
    return Summary(
        stack.web.url,
        stack.preprocess.url,
        [one.url for one in (stack.inference, *stack.copies)],
        [f"{LOOPBACK}:{one.env['GRPC_PORT']}" for one in (stack.inference, *stack.copies)],
        name,
        facts["engine"],
        facts["precision"],
        facts["device"],
        find_samples(facts["labels"]),
    )


def _shorten(path: Path) -> str:
    """Return a path as one would type it in the current folder."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
