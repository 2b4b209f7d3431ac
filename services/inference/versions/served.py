"""A model that is served: a lineup of versions, and how one lineup follows the other."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

from elastic_yolo.detector.errors import EngineError
from services.common.observe.logs import get_logger
from services.common.request.errors import UnknownModel
from services.inference.versions.daemon_thread import run_in_daemon_thread
from services.inference.versions.followed import ChannelWatcher
from services.inference.versions.lineup import Lineup
from services.inference.versions.loader import Loader, VersionRefused
from services.inference.versions.model_metrics import ModelMetrics
from services.inference.versions.place import Channels, ModelPlace
from services.inference.versions.version import LoadedVersion

# As a channel in the metrics; a real one cannot have brackets in its name.
_LEAVING = "(leaving)"


class ServedModel:
    """What answers the requests for one model."""

    def __init__(
        self, place: ModelPlace, loader: Loader, metrics: ModelMetrics, leaving_s: float
    ) -> None:
        """Load nothing yet.

        `leaving_s` is how long a version stays when the next one has another input size: until
        every process has the next one, so that who asks again gets the same from all of them.
        """
        shares = place.shares if isinstance(place, Channels) else ((place, 1),)
        shadow = place.shadow if isinstance(place, Channels) else None
        self._shares = [(ChannelWatcher(spot, loader, metrics), weight) for spot, weight in shares]
        self._shadow = None if shadow is None else ChannelWatcher(shadow, loader, metrics)
        self._wanted = False
        self._misfits: dict[str, VersionRefused] = {}
        self._metrics = metrics
        self._leaving_s = leaving_s
        self._lineup: Lineup | None = None
        self._held: list[LoadedVersion] = []
        self._reported: dict[str, LoadedVersion] = {}
        self._one_at_a_time = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.name = ""

    @property
    def lineup(self) -> Lineup:
        """What answers now; raises UnknownModel after `unload`."""
        if self._lineup is None:
            raise UnknownModel(f"the model {self.name!r} is not loaded")
        return self._lineup

    @property
    def is_loaded(self) -> bool:
        """Whether requests are answered."""
        return self._lineup is not None

    @property
    def refusals(self) -> dict[str, VersionRefused]:
        """What the channels, by name, point at and do not serve."""
        loads = {one.channel: one.refusal for one in self._channels if one.refusal is not None}
        return self._misfits | loads

    def start(self, wait_s: float = 0.0) -> None:
        """Load what the channels point at, before there is an event loop.

        Waits so long for what is not in the store yet. Raises VersionRefused if the main one has
        nothing that could serve.
        """
        main, *others = self._channels
        self._wanted = True
        self.name = main.start(wait_s).name
        for other in others:
            other.follow(self.name, [main], optional=True)
        self._switch()

    async def refresh(self) -> None:
        """Load what the channels point at now, and switch to it between two requests."""
        async with self._one_at_a_time:
            if self._wanted:
                await self._refresh()

    async def load(self) -> None:
        """Load the model, or look for what is new and for what was refused; see `refusals`.

        Goes on to its end without a caller who hangs up: a thread cannot be stopped in the middle.
        """
        await asyncio.shield(self._do(self._load()))

    async def _load(self) -> None:
        async with self._one_at_a_time:
            self._wanted = True
            for channel in self._channels:
                channel.retry()
            await self._refresh()

    async def unload(self) -> None:
        """Answer no requests any more, and free the memory when the last one is done.

        At once, even while the store hangs: what is being looked at is let go of afterwards.
        """
        self._wanted = False
        self._let_go()

    async def prepare(self) -> None:
        """Get every version ready for several requests at once; they answer already."""
        for version in self._lineup.loaded if self._lineup else []:
            await _split(version)

    async def close(self) -> None:
        """Finish what runs and stop all threads."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for version in self._held:
            await asyncio.to_thread(version.scheduler.close)

    @property
    def _channels(self) -> list[ChannelWatcher]:
        """All of them, the main one first."""
        shadow = [] if self._shadow is None else [self._shadow]
        return [*(channel for channel, _ in self._shares), *shadow]

    async def _refresh(self) -> None:
        main, *others = self._channels
        for channel in (main, *others):
            look = partial(channel.follow, self.name, self._channels, optional=channel is not main)
            await run_in_daemon_thread(look, f"the store of {self.name}@{channel.channel}")
            if channel.version is not None:
                # It would be slow under load until then, and the one before is not.
                await _split(channel.version)
        self._switch()

    def _switch(self) -> None:
        """Make one lineup of what is loaded; from here on every new request sees it."""
        before, main = self._lineup, self._channels[0].version
        if not self._wanted:
            self._let_go()
            return
        if main is None:
            self._report()
            self._retire_others()
            return
        leaving = None if before is None else before.leaving
        if before is not None and before.main.size != main.size:
            leaving = before.main
            self._do(self._leave(leaving))
        self._lineup = Lineup(
            shares=tuple(
                (self._fitting(channel, main), weight) for channel, weight in self._shares
            ),
            shadow=None if self._shadow is None else self._fitting(self._shadow, main),
            leaving=leaving,
        )
        self._report()
        self._retire_others()

    def _let_go(self) -> None:
        """Have no version of any channel."""
        self._lineup = None
        self._held += [one.version for one in self._channels if one.version is not None]
        for channel in self._channels:
            channel.leave()
            self._metrics.forget_look(self.name, channel.channel)
        self._misfits = {}
        self._report()
        self._retire_others()

    def _fitting(self, channel: ChannelWatcher, main: LoadedVersion) -> LoadedVersion | None:
        """Return a channel's version if it can take the same pictures as the main one."""
        version, before = channel.version, self._misfits.pop(channel.channel, None)
        if version is None or version.size == main.size:
            return version
        sizes = [f"{one.size[0]}x{one.size[1]}" for one in (version, main)]
        what = "its input is {}, and {} that of the main version: they cannot share requests"
        why = VersionRefused("size", what.format(*sizes))
        self._misfits[channel.channel] = why
        if str(before) != str(why):
            self._metrics.announce_refusal(self.name, channel.channel, why, None)
        return None

    def _report(self) -> None:
        """Show which version answers for each channel now, and what changed."""
        lineup, refused = self._lineup, self.refusals
        loaded = [] if lineup is None else lineup.loaded
        now = {one.channel: one.version for one in self._channels if one.version in loaded}
        for channel, version in now.items():
            before = self._reported.get(channel)
            if before is not None and before is not version:
                self._metrics.count_switch(self.name, channel)
                facts = version.facts() | {"channel": channel, "before": before.version}
                get_logger().info("version switched", **facts)
        self._reported = now
        leaving = {} if lineup is None or lineup.leaving is None else {_LEAVING: lineup.leaving}
        self._metrics.show_loaded(self.name, {**now, **leaving})
        for one in self._channels:
            self._metrics.show_refused(self.name, one.channel, refused=one.channel in refused)

    def _retire_others(self) -> None:
        """Let go of what neither answers nor may again, as what does not fit for the moment may."""
        loaded = [] if self._lineup is None else self._lineup.loaded
        waiting = [one.version for one in self._channels if one.version is not None]
        kept = list(dict.fromkeys([*loaded, *waiting]))
        for version in dict.fromkeys(self._held):
            if version not in kept:
                self._do(version.retire())
        self._held = kept

    async def _leave(self, version: LoadedVersion) -> None:
        await asyncio.sleep(self._leaving_s)
        lineup = self._lineup
        if lineup is not None and lineup.leaving is version:
            self._lineup = replace(lineup, leaving=None)
            self._report()
            self._retire_others()

    def _do(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _split(version: LoadedVersion) -> None:
    try:
        if not await version.scheduler.split():
            return
    except EngineError as error:
        get_logger().warning("one request at a time", **version.facts(), why=str(error))
    else:
        streams = version.scheduler.shares
        get_logger().info("ready for several at once", **version.facts(), streams=streams)
