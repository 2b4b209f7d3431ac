"""A model in service: follows its channels, and switches from one traffic split to the next."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

from elastic_yolo.detector.errors import EngineError
from services.common.observe.logs import get_logger
from services.inference.versions.channel_watcher import ChannelWatcher
from services.inference.versions.daemon_thread import run_in_daemon_thread
from services.inference.versions.loaded_version import LoadedVersion
from services.inference.versions.model_metrics import ModelMetrics
from services.inference.versions.model_source import ModelPath, WeightedChannels
from services.inference.versions.traffic_split import TrafficSplit
from services.inference.versions.version_loader import VersionLoader, VersionRefused

# The metrics' channel label of an outgoing version; brackets cannot occur in a channel's name.
_OUTGOING_CHANNEL = "(leaving)"


class ServedModel:
    """One model. Its watchers load versions in threads; switches happen on the event loop."""

    def __init__(
        self, path: ModelPath, loader: VersionLoader, metrics: ModelMetrics, outgoing_s: float
    ) -> None:
        """Load nothing yet.

        `outgoing_s` is how long the previous version stays if the next one has another input
        format: until every process has the next one, so that a repeated request gets the same
        response from all of them.
        """
        weights = path.weights if isinstance(path, WeightedChannels) else ((path, 1),)
        shadow = path.shadow if isinstance(path, WeightedChannels) else None
        self._weighted = [
            (ChannelWatcher(source, loader, metrics), weight) for source, weight in weights
        ]
        self._shadow = None if shadow is None else ChannelWatcher(shadow, loader, metrics)
        self._loader = loader
        self._wanted = False
        self._format_refusals: dict[str, VersionRefused] = {}
        self._metrics = metrics
        self._outgoing_s = outgoing_s
        self._held: list[LoadedVersion] = []
        self._serving: dict[str, LoadedVersion] = {}
        self._reported: dict[str, LoadedVersion] = {}
        self._poll_lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.name = ""
        self.split: TrafficSplit | None = None
        """The versions in service; None while the model is unloaded."""

    @property
    def refusals(self) -> dict[str, VersionRefused]:
        """The reason for each channel whose current version is not served."""
        loads = {one.channel: one.refusal for one in self._watchers if one.refusal is not None}
        return self._format_refusals | loads

    @property
    def current_versions(self) -> list[LoadedVersion]:
        """The versions that the channels point at, each once."""
        versions = [one.version for one in self._watchers if one.version is not None]
        return list(dict.fromkeys(versions))

    def start(self, wait_s: float = 0.0) -> None:
        """Load the current versions of all channels, before there is an event loop.

        Waits up to `wait_s` seconds for a model that is not in the store yet. Raises VersionRefused
        if the main channel has no version that can serve.
        """
        main, *others = self._watchers
        self._wanted = True
        self.name = main.start(wait_s).name
        for other in others:
            other.poll(self.name, [main], optional=True)
        self._switch()

    async def refresh(self) -> None:
        """Load the current versions of all channels, then switch to them between two requests."""
        async with self._poll_lock:
            if self._wanted:
                await self._poll_channels()

    async def load(self) -> None:
        """Load the model, or poll its channels and retry refused versions; see `refusals`.

        Runs to its end even if the caller hangs up, since a thread cannot be stopped halfway.
        """
        await asyncio.shield(self._start_task(self._load()))

    async def _load(self) -> None:
        async with self._poll_lock:
            self._wanted = True
            for watcher in self._watchers:
                watcher.retry()
            await self._poll_channels()

    async def switch_precision(
        self, version: LoadedVersion, precision: str
    ) -> LoadedVersion | None:
        """Load a current version in another precision, and switch to it between two requests.

        Returns the version with its new engine, or None if it has left meanwhile. Raises
        VersionRefused.
        """
        async with self._poll_lock:
            rebuilt: list[LoadedVersion] = []
            await run_in_daemon_thread(
                lambda: rebuilt.append(self._loader.rebuild(version, precision)),
                f"loading {self.name} in {precision}",
            )
            await _partition(new := rebuilt[0])
            watchers = [one for one in self._watchers if one.version is version]
            for watcher in watchers:
                watcher.version = new
            if not watchers:
                await asyncio.to_thread(new.close)
                return None
            # The same version to everything that reports switches of versions.
            self._reported = {
                channel: new if one is version else one for channel, one in self._reported.items()
            }
            self._switch()
            return new

    async def unload(self) -> None:
        """Accept no more requests, and free the memory when the last one has ended.

        Takes effect immediately, even while the store hangs: a version that is being loaded is
        released when its load ends.
        """
        self._wanted = False
        self._release_all()

    async def partition(self) -> None:
        """Partition the engine of every version into streams; they serve meanwhile."""
        for version in self.split.loaded if self.split else []:
            await _partition(version)

    async def close(self) -> None:
        """Stop all tasks, wait for the engines' last runs, and close all versions."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for version in self._held:
            await asyncio.to_thread(version.close)

    @property
    def _watchers(self) -> list[ChannelWatcher]:
        """All watchers, the main channel's first."""
        shadow = [] if self._shadow is None else [self._shadow]
        return [*(watcher for watcher, _ in self._weighted), *shadow]

    async def _poll_channels(self) -> None:
        main, *others = self._watchers
        try:
            for watcher in (main, *others):
                poll = partial(
                    watcher.poll, self.name, self._watchers, optional=watcher is not main
                )
                await run_in_daemon_thread(poll, f"polling {self.name}@{watcher.channel}")
                if watcher.version is not None:
                    # Before the switch: the version would be slow under load until then.
                    await _partition(watcher.version)
        finally:
            # Also after an error: what was loaded before it serves, or is released.
            self._switch()

    def _switch(self) -> None:
        """Make a traffic split of the watchers' versions; every later request uses it."""
        before, main = self.split, self._watchers[0].version
        if not self._wanted:
            self._release_all()
            return
        if main is not None:
            outgoing = None if before is None else before.outgoing
            if before is not None and before.main.input_format != main.input_format:
                outgoing = before.main
                self._start_task(self._end_outgoing(outgoing))
            fitting = {watcher: self._check_format(watcher, main) for watcher in self._watchers}
            self._serving = {
                watcher.channel: version
                for watcher, version in fitting.items()
                if version is not None
            }
            self.split = TrafficSplit(
                weights=tuple((fitting[watcher], weight) for watcher, weight in self._weighted),
                shadow=None if self._shadow is None else fitting[self._shadow],
                outgoing=outgoing,
            )
        self._report()
        self._retire_unused()

    def _release_all(self) -> None:
        """Forget the versions of all channels; they retire when their last request has ended."""
        self.split = None
        self._serving = {}
        self._held += [one.version for one in self._watchers if one.version is not None]
        for watcher in self._watchers:
            watcher.clear()
            self._metrics.forget_poll(self.name, watcher.channel)
        self._format_refusals = {}
        self._report()
        self._retire_unused()

    def _check_format(self, watcher: ChannelWatcher, main: LoadedVersion) -> LoadedVersion | None:
        """Return a watcher's version if its input format is the main one's, or report why not."""
        version, before = watcher.version, self._format_refusals.pop(watcher.channel, None)
        if version is None or version.input_format == main.input_format:
            return version
        own, other = version.input_format, main.input_format
        why = VersionRefused(
            "resize" if own.size == other.size else "size",
            f"takes pictures of {own}, but the main version of {other}: they cannot share requests",
        )
        self._format_refusals[watcher.channel] = why
        if str(before) != str(why):
            self._metrics.report_refusal(self.name, watcher.channel, why, None)
        return None

    def _report(self) -> None:
        """Log and count what has changed since the last call, and export the versions.

        Uses what the last switch put into service. A watcher may already hold the next version,
        which its thread has just loaded.
        """
        for channel, version in self._serving.items():
            before = self._reported.get(channel)
            if before is not None and before is not version:
                self._metrics.count_switch(self.name, channel)
                facts = version.facts() | {"channel": channel, "before": before.version}
                get_logger().info("version switched", **facts)
        self._reported = self._serving
        outgoing = None if self.split is None else self.split.outgoing
        self._metrics.show_loaded(
            self.name,
            self._serving if outgoing is None else {**self._serving, _OUTGOING_CHANNEL: outgoing},
        )
        refused = self.refusals
        for one in self._watchers:
            self._metrics.show_refused(self.name, one.channel, refused=one.channel in refused)

    def _retire_unused(self) -> None:
        """Retire every version that is neither in service nor held by a watcher.

        A watcher may hold a version that does not fit at the moment, and may fit later.
        """
        loaded = [] if self.split is None else self.split.loaded
        watched = [one.version for one in self._watchers if one.version is not None]
        kept = list(dict.fromkeys([*loaded, *watched]))
        for version in dict.fromkeys(self._held):
            if version not in kept:
                self._start_task(version.retire())
        self._held = kept

    async def _end_outgoing(self, version: LoadedVersion) -> None:
        """End the service of an outgoing version after `outgoing_s`."""
        await asyncio.sleep(self._outgoing_s)
        if self.split is not None and self.split.outgoing is version:
            self.split = replace(self.split, outgoing=None)
            self._report()
            self._retire_unused()

    def _start_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _partition(version: LoadedVersion) -> None:
    try:
        if not await version.scheduler.partition():
            return
    except EngineError as error:
        get_logger().warning("engine not partitioned", **version.facts(), why=str(error))
    else:
        streams = version.scheduler.streams
        get_logger().info("engine partitioned", **version.facts(), streams=streams)
