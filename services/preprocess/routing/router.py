"""Chooses the back end of each request by the table of routes, and replaces the table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus

from prometheus_client import Counter

from services.common.core.golden import Golden
from services.common.core.model_list import ModelList, ModelSummary
from services.common.observe.telemetry import Metrics
from services.common.peer import Peer
from services.common.request.context import RequestContext
from services.common.request.errors import RemoteProblem, ServiceError, Unavailable, UnknownModel
from services.preprocess.backend import Backend
from services.preprocess.inference_client import DetectionRequest, InferenceBackend
from services.preprocess.routing.table import BackendEntry, Table

BuildBackend = Callable[[str, BackendEntry], Backend]

# Of the names in a message; a store may have hundreds.
_MOST_NAMED = 50


class RouteMetrics:
    """Pictures by back end."""

    def __init__(self, metrics: Metrics) -> None:
        """Add the counter to the service's registry."""
        self._service = metrics.service
        self._pictures = Counter(
            "elastic_yolo_routed_pictures_total",
            "Pictures that the table of routes gave to a back end.",
            ("service", "backend"),
            registry=metrics.registry,
        )

    def count_picture(self, backend: str) -> None:
        """Count a picture."""
        self._pictures.labels(self._service, backend).inc()

    def forget(self, backend: str) -> None:
        """Export a back end that has left the table no longer."""
        with suppress(KeyError):
            self._pictures.remove(self._service, backend)


@dataclass(eq=False)
class _Member:
    """A back end that requests use; it closes when it left the table and the last one is over."""

    name: str
    entry: BackendEntry
    backend: Backend
    users: int = 0
    retired: bool = False

    def close_if_unused(self) -> None:
        if self.retired and self.users == 0:
            self.backend.peer.close()


@dataclass(frozen=True)
class _Current:
    """The table in use with its back ends; replaced as a whole."""

    table: Table = field(default_factory=lambda: Table({}, ()))
    members: Mapping[str, _Member] = field(default_factory=dict)


class Router:
    """Routes requests by the current table. All calls are on the event loop.

    A request that has begun keeps its back end, whatever table comes meanwhile.
    """

    def __init__(self, build_backend: BuildBackend, metrics: RouteMetrics | None) -> None:
        """Have no table yet; `build_backend` makes a back end of its entry.

        Without `metrics` there is one back end only, whose word on a missing model is final.
        """
        self._build_backend = build_backend
        self._metrics = metrics
        self._current = _Current()

    def take(self, table: Table) -> None:
        """Use a table from now on; what it has in common with the last one stays connected."""
        before = self._current.members
        members = {
            name: before[name]
            if name in before and before[name].entry == entry
            else self._start(name, entry)
            for name, entry in table.backends.items()
        }
        self._current = _Current(table, members)
        for name, member in before.items():
            if members.get(name) is not member:
                member.retired = True
                member.close_if_unused()
            if self._metrics is not None and name not in members:
                self._metrics.forget(name)

    def close(self) -> None:
        """Abort all connections."""
        for member in self._current.members.values():
            member.backend.peer.close()

    @property
    def inference_peers(self) -> list[Peer]:
        """The clients of the back ends that are inference services of this project."""
        backends = (member.backend for member in self._current.members.values())
        return [one.peer for one in backends if isinstance(one, InferenceBackend)]

    @asynccontextmanager
    async def route(
        self, context: RequestContext, wanted: DetectionRequest, *, is_picture: bool = True
    ) -> AsyncIterator[Backend]:
        """Yield the back end for a request; it stays open until the block ends.

        Pictures are counted.

        Raises UnknownModel if no back end has the model, Unavailable if the one that should have it
        does not now.
        """
        current = self._current
        member = self._choose(current, context, wanted)
        if member is None:
            raise await self._missing(current, context, wanted)
        if is_picture and self._metrics is not None:
            self._metrics.count_picture(member.name)
        member.users += 1
        try:
            yield member.backend
        except RemoteProblem as problem:
            is_missing = problem.status == HTTPStatus.NOT_FOUND and wanted.version is None
            if not is_missing or self._metrics is None:
                raise
            raise await self._missing(current, context, wanted) from problem
        finally:
            member.users -= 1
            member.close_if_unused()

    async def list_models(self, context: RequestContext, headers: Mapping[str, str]) -> ModelList:
        """Return the models that a caller may name; `headers` are those of a DetectionRequest.

        What cannot be asked now is left out. Raises ServiceError if that is everything.
        """
        names = await self._find_names(self._current, context, headers)
        wanted = [DetectionRequest(name, headers=headers) for name in names[:_MOST_NAMED]]
        default, *models = await asyncio.gather(
            self._summarise(context, DetectionRequest(headers=headers)),
            *(self._summarise(context, one) for one in wanted),
        )
        known = [model for model in models if isinstance(model, ModelSummary)]
        if isinstance(default, ModelSummary):
            return ModelList(default=default, models=known)
        if not known and not isinstance(default, UnknownModel):
            raise default
        return ModelList(default=None, models=known)

    async def check_ready(self) -> None:
        """Raise Unavailable unless one of the back ends is ready."""
        checks = [
            asyncio.create_task(_why_not_ready(member.backend))
            for member in self._current.members.values()
        ]
        errors: list[Unavailable] = []
        try:
            for check in asyncio.as_completed(checks):
                error = await check
                if error is None:
                    return
                errors.append(error)
        finally:
            for task in checks:
                task.cancel()
        raise errors[0] if len(errors) == 1 else Unavailable("no back end is ready")

    async def request_golden(self, context: RequestContext) -> Golden:
        """Return a golden picture whose model this request id would reach by its name alone.

        Raises Unavailable if there is none, and what `Peer.send` raises.
        """
        if self._metrics is None:
            (member,) = self._current.members.values()
            assert isinstance(member.backend, InferenceBackend)  # noqa: S101  # the only one
            return await member.backend.request_golden(context, None)
        current = self._current
        for member in current.members.values():
            if not isinstance(member.backend, InferenceBackend):
                continue
            for name in await member.backend.list_names(context):
                if self._choose(current, context, DetectionRequest(name)) is member:
                    return await member.backend.request_golden(context, name)
        raise Unavailable("no back end that can be reached has a golden picture")

    def _start(self, name: str, entry: BackendEntry) -> _Member:
        backend = self._build_backend(name, entry)
        backend.peer.start()
        return _Member(name, entry, backend)

    def _choose(
        self, current: _Current, context: RequestContext, wanted: DetectionRequest
    ) -> _Member | None:
        if self._metrics is None:
            (member,) = current.members.values()
            return member
        route = current.table.find_route(wanted.model, wanted.headers)
        if route is None:
            return None
        name = route.pick(context.uid)
        return current.members[name] if current.table.may_have(name, route, wanted.model) else None

    async def _missing(
        self, current: _Current, context: RequestContext, wanted: DetectionRequest
    ) -> ServiceError:
        """Return the error for a model that has no back end, or is missing in the chosen one."""
        known = await self._find_names(current, context, wanted.headers)
        if wanted.model in known:
            return Unavailable(f"the back end of the model {wanted.model!r} does not have it now")
        available = ", ".join(map(repr, known[:_MOST_NAMED])) or "none"
        if wanted.model is None:
            return UnknownModel(f"there is no default model here; available: {available}")
        return UnknownModel(f"no model {wanted.model[:80]!r} here; available: {available}")

    async def _find_names(
        self, current: _Current, context: RequestContext, headers: Mapping[str, str]
    ) -> list[str]:
        """Return the names of the models that exist for a caller, in alphabetical order.

        That is those for which a route leads from there to a back end that has them.
        """
        table, members = current.table, current.members
        lists = await asyncio.gather(*(one.backend.list_names(context) for one in members.values()))
        names_of = dict(zip(members, lists, strict=True))

        def exists(model: str) -> bool:
            route = table.find_route(model, headers)
            return route is not None and any(
                # Of a back end with one model, the table says how it may be called.
                table.may_have(name, route, model)
                if table.backends[name].only_model
                else model in names_of[name]
                for name, weight in route.backends.items()
                if weight
            )

        named = {name for route in table.routes for name in route.model or ()}
        return [name for name in sorted(named.union(*lists)) if exists(name)]

    async def _summarise(
        self, context: RequestContext, wanted: DetectionRequest
    ) -> ModelSummary | ServiceError:
        try:
            async with self.route(context, wanted, is_picture=False) as backend:
                return await backend.summarise(context, wanted.model)
        except ServiceError as error:
            return error


async def _why_not_ready(backend: Backend) -> Unavailable | None:
    try:
        await backend.peer.check_ready()
    except Unavailable as error:
        return error
    return None
