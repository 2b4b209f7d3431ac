"""What a process says of itself for the live view: `GET /live/self`."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, ValidationError

from services.common.core.probes import ENDING, Phase, Readiness
from services.common.observe.cpu_quota import cpu_quota
from services.common.observe.startup import process_start
from services.common.observe.telemetry import Metrics
from services.common.peer import Peer
from services.common.peer.endpoints import State
from services.common.peer.survey import Answer
from services.common.request.body import JsonResponse
from services.common.request.host import host_name

SELF_PATH = "/live/self"
TREE_PATH = "/live/tree"

_QUOTA_PERIOD_S = 5.0

ProcessState = Literal["starting", "ready", "draining"]


class _Snapshot(BaseModel):
    model_config = ConfigDict(frozen=True)


class ModelSnapshot(_Snapshot):
    """A version of a model in memory."""

    name: str
    version: str
    digest: str
    engine: str
    precision: str


class EndpointSnapshot(_Snapshot):
    """An endpoint of the next service, as this process knows it."""

    peer: str
    address: str
    state: State
    outstanding: int


class ProcessSnapshot(_Snapshot):
    """One process. Counts are of predictions since its start; probes and pages are not counted."""

    id: str
    """Drawn at random at the start: another process at the same address has another one."""
    service: str
    host: str
    port: int
    state: ProcessState
    age_s: float
    ready_s: float | None
    """Seconds since it was ready for the first time."""
    statuses: dict[str, int]
    seconds: list[tuple[float, int]]
    """The histogram of durations: upper bound and cumulative count of each bucket but the last."""
    in_flight: int
    queues: dict[str, tuple[int, int]]
    """Requests waiting, and their limit."""
    cpu_s: float
    cpu_quota: float
    models: list[ModelSnapshot] = []
    endpoints: list[EndpointSnapshot] = []
    load_rate: float = 0.0
    """Pictures per second that it sends itself, for POST /live/load."""
    load_left_s: float = 0.0
    """Seconds until it stops to send them."""


class EndpointAnswer(_Snapshot):
    """What an address answered when it was asked for its snapshot."""

    address: str
    process: ProcessSnapshot | None
    refused: bool = False
    """Whether nothing listens there. If False and `process` is None, no answer came in time."""


class Tree(_Snapshot):
    """A process with the processes of the service behind it."""

    process: ProcessSnapshot
    behind: list[EndpointAnswer]


class LiveProcess:
    """Makes the snapshots of this process, of what it counts anyway."""

    def __init__(
        self,
        metrics: Metrics,
        readiness: Readiness,
        *,
        port: int,
        routes: Sequence[str],
        in_flight: Callable[[], int] | None = None,
        models: Callable[[], list[ModelSnapshot]] = list,
        peers: Callable[[], Iterable[Peer]] = list,
        load: Callable[[], tuple[float, float]] = lambda: (0.0, 0.0),
    ) -> None:
        """Count the requests of `routes`; `load` returns load_rate and load_left_s of a snapshot.

        Without `in_flight` all requests but the one that asks are in flight.
        """
        self.id = secrets.token_hex(8)
        self._metrics = metrics
        self._readiness = readiness
        self._port = port
        self._routes = routes
        self._in_flight = in_flight
        self._models = models
        self._peers = peers
        self._load = load
        self._host = host_name()
        self._started = process_start()
        self._quota = cpu_quota()
        self._quota_at = time.monotonic()

    def snapshot(self) -> ProcessSnapshot:
        """Return how things are now; takes half a millisecond."""
        metrics, now = self._metrics, time.monotonic()
        work = metrics.count_work(self._routes)
        ready_at = self._readiness.ready_at
        load_rate, load_left_s = self._load()
        in_flight = metrics.in_flight_now() - 1 if self._in_flight is None else self._in_flight()
        return ProcessSnapshot(
            id=self.id,
            service=metrics.service,
            host=self._host,
            port=self._port,
            state=self._state(has_worked=bool(work.statuses)),
            age_s=time.clock_gettime(time.CLOCK_BOOTTIME) - self._started,
            ready_s=None if ready_at is None else now - ready_at,
            statuses=work.statuses,
            seconds=work.seconds,
            in_flight=max(0, in_flight),
            queues={name: (one.waiting, one.limit) for name, one in metrics.queue_loads()},
            cpu_s=time.process_time(),
            cpu_quota=self._read_quota(now),
            models=self._models(),
            endpoints=[one for peer in self._peers() for one in _describe_endpoints(peer)],
            load_rate=load_rate,
            load_left_s=load_left_s,
        )

    def _read_quota(self, now: float) -> float:
        # It may change while a pod runs; reading it takes a fifth of a snapshot.
        if now - self._quota_at > _QUOTA_PERIOD_S:
            self._quota, self._quota_at = cpu_quota(), now
        return self._quota

    def _state(self, *, has_worked: bool) -> ProcessState:
        if self._readiness.phase in ENDING:
            return "draining"
        # Where nobody asks /readyz, a prediction shows it.
        is_ready = self._readiness.ready_at is not None or has_worked
        return "ready" if is_ready and self._readiness.phase is Phase.SERVING else "starting"


def build_live_router(process: LiveProcess, *, with_addresses: bool = True) -> APIRouter:
    """Return `GET /live/self`; addresses of other services are not for everyone who sees a page."""
    router = APIRouter(include_in_schema=False)
    hidden = None if with_addresses else {"endpoints"}

    @router.get(SELF_PATH)
    async def show_self() -> JsonResponse:
        return JsonResponse(process.snapshot().model_dump(exclude=hidden))

    return router


def read_processes(answers: Iterable[Answer]) -> list[EndpointAnswer]:
    """Return what addresses answered to SELF_PATH; what is no snapshot counts as no answer."""
    found = []
    for answer in answers:
        process = None
        if answer.response is not None and answer.response.status_code == HTTPStatus.OK:
            try:
                process = ProcessSnapshot.model_validate_json(answer.response.content)
            except ValidationError:
                continue
        found.append(
            EndpointAnswer(address=str(answer.address), process=process, refused=answer.refused)
        )
    return found


def _describe_endpoints(peer: Peer) -> list[EndpointSnapshot]:
    return [
        EndpointSnapshot(
            peer=peer.name,
            address=str(one.address),
            state=peer.endpoints.state(one),
            outstanding=one.outstanding,
        )
        for one in (*peer.endpoints.known.values(), *peer.endpoints.removed)
        if not one.address.is_fallback
    ]
