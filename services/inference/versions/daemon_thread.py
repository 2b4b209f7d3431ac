"""Work in a thread that nobody has to wait for: what a store on a network does may never return."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from services.common.observe.logs import get_logger

# From here on the log says that it takes long.
_LONG_S = 60.0
# So long a process that stops waits for what is being loaded.
_LAST_S = 5.0


async def run_in_daemon_thread(work: Callable[[], None], what: str) -> None:
    """Do `work` in a thread of its own, as long as it takes; raises what it raises.

    Who is cancelled meanwhile goes after five seconds, and leaves the thread behind: it does not
    keep the process from ending. `what` is what the log calls it.
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

    def run() -> None:
        error: Exception | None = None
        try:
            work()
        except BaseException as raised:  # noqa: BLE001  # handed on
            # What would end the process, such as sys.exit() in a library, does not here.
            error = raised if isinstance(raised, Exception) else RuntimeError(repr(raised))
        with suppress(RuntimeError):  # the loop has ended without us
            loop.call_soon_threadsafe(finish, error)

    threading.Thread(target=run, name="apart", daemon=True).start()
    try:
        await asyncio.wait({done}, timeout=_LONG_S)
        if not done.done():
            get_logger().warning("takes long", what=what, seconds=_LONG_S)
        await asyncio.shield(done)
    except asyncio.CancelledError:
        await asyncio.wait({done}, timeout=_LAST_S)
        raise
