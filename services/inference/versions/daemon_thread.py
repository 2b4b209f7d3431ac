"""Run blocking work in a daemon thread: a call into a hung network file system never returns."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from services.common.observe.logs import get_logger

# Work that takes longer than this is logged.
_SLOW_S = 60.0
# How long a cancelled caller, such as a process that shuts down, waits for the work.
_CANCEL_WAIT_S = 5.0


async def run_in_daemon_thread(
    work: Callable[[], None], what: str, slow_s: float | None = _SLOW_S
) -> None:
    """Run `work` in a thread of its own, without a time limit; raises what it raises.

    A caller that is cancelled waits five more seconds, then leaves the thread running: a daemon
    thread does not keep the process alive. `what` names the work in the log if it takes longer than
    `slow_s`.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish(error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def call() -> None:
        error: Exception | None = None
        try:
            work()
        except BaseException as raised:  # noqa: BLE001  # re-raised in the caller
            # A SystemExit from a library must not end the process.
            error = raised if isinstance(raised, Exception) else RuntimeError(repr(raised))
        with suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(finish, error)

    threading.Thread(target=call, name="daemon-work", daemon=True).start()
    try:
        await asyncio.wait({done}, timeout=slow_s)
        if not done.done():
            get_logger().warning("still running", what=what, seconds=slow_s)
        await asyncio.shield(done)
    except asyncio.CancelledError:
        await asyncio.wait({done}, timeout=_CANCEL_WAIT_S)
        if done.done():
            # Retrieved, so that asyncio does not log an error of work that was given up.
            done.exception()
        raise
