"""Follows the table of routes: takes each valid change, and keeps the last table otherwise."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from prometheus_client import Gauge

from services.common.observe.logs import get_logger
from services.common.observe.telemetry import Metrics
from services.preprocess.routing.router import Router
from services.preprocess.routing.sources import TableSource
from services.preprocess.routing.table import Table, TableError, load_table

# A table may be right although the files that it names come later.
_RETRY_S = 5.0


class TableMetrics:
    """Whether the table in the source is the one in use, and since when."""

    def __init__(self, metrics: Metrics) -> None:
        """Add the gauges to the service's registry."""
        self._valid = Gauge(
            "elastic_yolo_routes_valid",
            "1 if the latest table of routes is in use, 0 if it was refused.",
            ("service",),
            registry=metrics.registry,
        ).labels(metrics.service)
        self._loaded = Gauge(
            "elastic_yolo_routes_loaded_timestamp_seconds",
            "When the table of routes in use was loaded, in seconds since 1970.",
            ("service",),
            registry=metrics.registry,
        ).labels(metrics.service)

    def record_taken(self) -> None:
        """Record that a table has been taken."""
        self._valid.set(1)
        self._loaded.set(time.time())

    def record_refused(self) -> None:
        """Record that the latest table cannot be used."""
        self._valid.set(0)


async def read_table(source: TableSource, inference_url: str | None) -> Table:
    """Read and check the table that a source has now; raises TableError."""
    text = await source.read()
    # It may name many files.
    return await asyncio.to_thread(load_table, text, str(source), inference_url, source.folder)


class TableFollower:
    """Keeps a router's table as the source has it."""

    def __init__(
        self, source: TableSource, inference_url: str | None, router: Router, metrics: TableMetrics
    ) -> None:
        """Have no table yet."""
        self._source = source
        self._inference_url = inference_url
        self._router = router
        self._metrics = metrics
        self._table: Table | None = None
        self._refusal: str | None = None

    def take(self, table: Table) -> None:
        """Use a table; of one that is in use already, nothing changes."""
        if table != self._table:
            self._router.take(table)
            self._table = table
            get_logger().info(
                "routes loaded",
                table=str(self._source),
                routes=len(table.routes),
                backends=len(table.backends),
            )
        elif self._refusal is None:
            return
        self._refusal = None
        self._metrics.record_taken()

    @asynccontextmanager
    async def following(self, table: Table | None) -> AsyncIterator[None]:
        """Begin with a table, and take changes until the block ends."""
        if table is not None:
            self.take(table)
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()

    async def _follow(self) -> None:
        changed = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(changed))
            while True:
                retry_s = _RETRY_S if self._refusal is not None else None
                # A refused table is tried again.
                with suppress(TimeoutError):
                    async with asyncio.timeout(retry_s):
                        await changed.wait()
                changed.clear()
                await self._reload()

    async def _watch(self, changed: asyncio.Event) -> None:
        while True:
            try:
                async for _ in self._source.changes():
                    changed.set()
            except Exception:  # noqa: BLE001  # no error may end the watcher
                get_logger().exception("the watcher of the routes failed", table=str(self._source))
            await asyncio.sleep(_RETRY_S)

    async def _reload(self) -> None:
        try:
            self.take(await read_table(self._source, self._inference_url))
        except TableError as error:
            self._refuse(str(error))
        except Exception:  # noqa: BLE001  # whatever it is, the last table stays in use
            get_logger().exception("the table of routes cannot be read", table=str(self._source))
            self._refuse("unexpected error")

    def _refuse(self, why: str) -> None:
        self._metrics.record_refused()
        if why != self._refusal:
            get_logger().warning("routes refused: the previous ones stay in use", why=why)
        self._refusal = why
