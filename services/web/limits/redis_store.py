"""The usage of all clients in Redis, which several web processes share.

Each picture costs one round trip, in which a script decides and counts. Without Redis, no picture
waits for it: docs/decisions/035-limits.md.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Literal, cast
from uuid import uuid4

from redis import asyncio as redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from services.common.observe.logs import get_logger
from services.common.request.errors import Unavailable
from services.common.request.identity import Limits
from services.web.limits.stores import Grant, MemoryStore
from services.web.limits.usage import Reason, Verdict, burst_of

WhenDown = Literal["open", "closed"]

# In the log line about a Redis that is down: what happens to pictures.
_ALONE = "each process enforces the limits alone"
_REFUSES = "pictures are refused with 503"

# A round trip takes less than a millisecond in a cluster.
_TIMEOUT_S = 0.15
_PROBE_PAUSE_S = 1.0
# A picture counts as in progress for this much longer than it may take, if its process is killed.
_MARGIN_S = 5.0
_PREFIX = "elastic-yolo:limits"
_PROBE = Limits(rate=1000.0, concurrency=1000)
_FAILURES = (RedisError, OSError, TimeoutError)
# Pictures to take back when it responds again; beyond it the oldest end by themselves.
_MOST_OWED = 1000


class RedisStore:
    """Counts in Redis; while that does not respond, in this process, or not at all."""

    def __init__(
        self,
        url: str,
        when_down: WhenDown,
        longest_s: float,
        clock: Callable[[], float] | None = None,
        *,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        """Connect with the first picture, none of which takes longer than `longest_s` seconds.

        `when_down` is what happens without Redis: `open` lets this process enforce the limits
        alone, `closed` refuses all pictures. Without a clock, Redis' own counts. It has `timeout_s`
        seconds to respond.
        """
        self._client = redis.Redis.from_url(
            url,
            socket_connect_timeout=timeout_s,
            socket_timeout=timeout_s,
            # Once, for a connection that broke while nobody used it.
            retry=Retry(NoBackoff(), 1),
            protocol=2,
        )
        script = Path(__file__).with_name("take.lua").read_text(encoding="utf-8")
        self._script = self._client.register_script(script)
        self._closed = when_down == "closed"
        self._timeout_s = timeout_s
        self._lease_s = longest_s + _MARGIN_S
        self._clock = clock
        self._alone = MemoryStore()
        self._is_down = False
        self._tasks: set[asyncio.Task[None]] = set()
        # Set and name of pictures that are over, or were let in otherwise, and may still count.
        self._owed: deque[tuple[str, str]] = deque(maxlen=_MOST_OWED)

    async def take(self, client: str, limits: Limits) -> Grant:
        """Count a picture if it is within the limits; raises Unavailable if `closed` and down."""
        if not self._is_down:
            try:
                return await self._take(client, limits)
            except _FAILURES as error:
                self._note_failure(error)
        if self._closed:
            raise Unavailable("the limits of this client cannot be checked", _PROBE_PAUSE_S)
        return await self._alone.take(client, limits)

    @property
    def responds(self) -> bool:
        """Whether Redis counts pictures at the moment."""
        return not self._is_down

    @property
    def owed(self) -> int:
        """How many pictures are taken back when Redis responds again."""
        return len(self._owed)

    async def close(self) -> None:
        """Close the connections."""
        for task in self._tasks:
            task.cancel()
        await self._client.aclose()

    async def _take(self, client: str, limits: Limits) -> Grant:
        used, now = _keys(client)
        picture = uuid4().hex
        arguments = [
            -1 if limits.rate is None else limits.rate,
            burst_of(limits),
            -1 if limits.concurrency is None else limits.concurrency,
            -1 if limits.daily is None else limits.daily,
            picture,
            self._lease_s,
            "" if self._clock is None else self._clock(),
        ]
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await self._script(keys=[used, now], args=arguments)
        except _FAILURES:
            # The script may run when nobody waits for it any more.
            self._owed.append((now, picture))
            raise
        refusal, tokens, in_progress, used_today, day_left_s = reply
        verdict = Verdict(
            cast("Reason", refusal.decode()) or None,
            float(tokens),
            int(in_progress),
            int(used_today),
            int(day_left_s),
        )
        if verdict.refusal is not None or limits.concurrency is None:
            return Grant(verdict, lambda: None)
        # Nobody waits for it.
        return Grant(verdict, lambda: self._start(self._give_back(now, picture)))

    async def _give_back(self, now: str, picture: str) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._client.zrem(now, picture)
        except _FAILURES as error:
            self._owed.append((now, picture))
            self._note_failure(error)

    def _note_failure(self, error: Exception) -> None:
        if not self._is_down:
            self._is_down = True
            reason = type(error).__name__
            meanwhile = _REFUSES if self._closed else _ALONE
            get_logger().warning("LIMIT_REDIS_URL: no response", reason=reason, meanwhile=meanwhile)
            self._start(self._wait_until_back())

    async def _wait_until_back(self) -> None:
        """Run the script until it works: a PING would succeed where the script may not run."""
        while self._is_down:
            await asyncio.sleep(_PROBE_PAUSE_S)
            try:
                (await self._take("probe", _PROBE)).give_back()
                while self._owed:
                    async with asyncio.timeout(self._timeout_s):
                        await self._client.zrem(*self._owed.popleft())
            except _FAILURES:
                continue
            self._is_down = False
            get_logger().info("LIMIT_REDIS_URL: it responds again")

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _keys(client: str) -> tuple[str, str]:
    """Return the keys of a client; the braces put both on one node of a cluster."""
    digest = hashlib.blake2b(client.encode(), digest_size=16).hexdigest()
    return f"{_PREFIX}:{{{digest}}}:used", f"{_PREFIX}:{{{digest}}}:now"
