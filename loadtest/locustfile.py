"""Users that send pictures: `locust -f loadtest/locustfile.py --host http://127.0.0.1:5000`.

Each user sends one picture per second while responses take less than a second: the number of users
is the offered rate. With `--shape` it follows a shape; without it locust's page and options set it.
`TIMELINE=file` adds a tab with the replicas to the page.
"""

from __future__ import annotations

import random
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import gevent
from locust import FastHttpUser, LoadTestShape, constant_pacing, events
from locust.runners import LocalRunner
from locust.stats import CSV_STATS_INTERVAL_SEC

# Locust adds the folder of this file to the path, not its parent.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from client.arguments import token_header
from client.client import find_fault
from loadtest.answers import Answer, AnswerLog, Outcome
from loadtest.pictures import BOUNDARY, IMAGES, Mix
from loadtest.replicas import add_replicas
from loadtest.shapes import PER_USER_S, SHAPES, users_at

# Also sent to the service, which rejects a picture that would take longer.
TIMEOUT_S = 5.0
_SHAPE_DURATION_S = 120
_WATCH_S = 0.1


class PictureUser(FastHttpUser):  # type: ignore[misc]  # Any where locust is not installed
    """Sends a picture, waits for the response, checks it."""

    wait_time = constant_pacing(1 / PER_USER_S)
    # Longer than the service's timeout, so that its 504 arrives.
    network_timeout = connection_timeout = 2 * TIMEOUT_S

    def on_start(self) -> None:
        """Wait for a random time: users start together, but must not send together."""
        self.pictures = make_pictures(self.environment.parsed_options.pictures).get()
        self.headers = request_headers()
        gevent.sleep(random.uniform(0, 1 / PER_USER_S))  # noqa: S311

    def send_picture(self) -> None:
        """Send one picture, and count it as served, rejected or failed."""
        picture = self.pictures.draw()
        with self.client.post(
            "/inference",
            name=f"/inference ({picture.size})",
            data=picture.body,
            headers=self.headers,
            catch_response=True,
            context={"picture": picture.size},
        ) as response:
            outcome, fault = classify(response)
            response.request_meta["context"]["outcome"] = outcome
            if outcome == "rejected":
                response.request_meta["name"] = "/inference (rejected)"
            if fault is None:
                response.success()
            else:
                response.failure(fault)

    tasks = [send_picture]  # noqa: RUF012  # an attribute that locust defines


@cache
def make_pictures(folder: Path) -> Any:
    """Start preparing the pictures of a folder in a thread; return its future.

    Locust must not block: a worker without a heartbeat for 3 s counts as missing.
    """
    return gevent.get_hub().threadpool.spawn(Mix, folder)


def classify(response: Any) -> tuple[Outcome, str | Exception | None]:
    """Return the outcome of a picture, and the fault if it failed."""
    if response.status_code == 429:
        return "rejected", None
    if response.status_code != 200:
        return "failed", getattr(response, "error", None) or f"status {response.status_code}"
    try:
        fault = find_fault(response.json())
    except (ValueError, RecursionError):
        fault = "the response is not JSON"
    return ("failed", fault) if fault else ("served", None)


class Shape(LoadTestShape):  # type: ignore[misc]
    """The shape of --shape, with --users as its peak and --run-time as its duration."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """Return the number of users now; None at the end."""
        options = self.runner.environment.parsed_options
        users = users_at(
            options.shape,
            self.get_run_time(),
            peak=options.num_users or 1,
            duration_s=options.run_time or _SHAPE_DURATION_S,
        )
        # The whole change in one second: locust calls again only after its completion.
        return None if users is None else (users, float(max(1, options.num_users or 1)))


def add_arguments(parser: Any) -> None:
    """Add our options to locust's."""
    parser.add_argument(
        "--shape", choices=sorted(SHAPES), include_in_web_ui=False,
        help="let the number of users follow a shape, with --users as its peak and --run-time as "
        f"its duration ({_SHAPE_DURATION_S} s)",
    )  # fmt: skip
    parser.add_argument(
        "--pictures", type=Path, default=IMAGES, metavar="DIR", include_in_web_ui=False,
        help="folder of the pictures to send (client/images)",
    )  # fmt: skip
    parser.add_argument(
        "--answers", type=Path, metavar="FILE", include_in_web_ui=False,
        help="write one line per picture",
    )  # fmt: skip
    parser.add_argument(
        "--timeline", type=Path, metavar="FILE", env_var="TIMELINE", include_in_web_ui=False,
        help="show the replicas of this file on the page",
    )  # fmt: skip


def prepare(environment: Any, **_others: Any) -> None:
    """Prepare a process of locust."""
    options = environment.parsed_options
    make_pictures(options.pictures).get()
    if options.shape is None:
        environment.shape_class = None
    if options.answers is not None:
        if not isinstance(environment.runner, LocalRunner):
            sys.exit("--answers: needs a single process, without --master or --processes")
        log = AnswerLog(options.answers)
        environment.events.test_start.add_listener(lambda **_others: log.begin(time.time()))
        began_s = time.process_time()
        environment.events.test_stop.add_listener(
            lambda **_others: log.end(time.process_time() - began_s)
        )
        gevent.spawn(watch_users, environment.runner, log)
        environment.events.request.add_listener(_writer(log))
        environment.events.quitting.add_listener(let_csv_finish)
    if environment.web_ui is not None and options.timeline is not None:
        add_replicas(environment.web_ui, options.timeline, options.web_base_path)


def watch_users(runner: Any, log: AnswerLog) -> None:
    """Record every change of the number of users."""
    known = 0
    while True:
        if runner.user_count != known:
            known = runner.user_count
            log.count_users(time.time(), known)
        gevent.sleep(_WATCH_S)


def let_csv_finish(**_others: Any) -> None:
    """Wait for locust's next write of its CSV files, which happens every second.

    Locust does not write them at the end: the last second of a run would be missing.
    """
    gevent.sleep(1.5 * CSV_STATS_INTERVAL_SEC)


def request_headers() -> dict[str, str]:
    """Return the headers of every request."""
    return {
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Accept": "application/json",
        "X-Timeout-Ms": str(round(1000 * TIMEOUT_S)),
        **token_header(),
    }


def _writer(log: AnswerLog) -> Any:
    def write(
        *, start_time: float, response_time: float, response: Any, context: Any, **_others: Any
    ) -> None:
        status = response.status_code
        log.write(Answer(start_time, response_time, status, context["outcome"], context["picture"]))

    return write


events.init_command_line_parser.add_listener(add_arguments)
events.init.add_listener(prepare)
