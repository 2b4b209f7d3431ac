"""How many connections the process's limit on open files allows (RLIMIT_NOFILE)."""

from __future__ import annotations

import resource
from dataclasses import dataclass

from services.common.core.settings import ServiceSettings
from services.common.observe.logs import get_logger

# Open files besides connections: the log, the event loop, libraries, a model that is loaded, name
# resolution. A service has 23 open when it is idle. If the limit is low, a quarter of it is kept.
_RESERVED = 256
_LEAST_RESERVED = 32
# With fewer, probes and one caller's keep-alive connections would take all.
_FEWEST = 4


@dataclass(frozen=True)
class ConnectionLimit:
    """The most connections that callers may have open, and what refuses one more says."""

    connections: int
    refusal: str


def fit_connections(settings: ServiceSettings) -> ConnectionLimit:
    """Raise the soft limit on open files to what MAX_CONNECTIONS needs, or lower that to what fits.

    Logs a warning if MAX_CONNECTIONS does not fit. Ends the process with one line if even a few
    connections do not.
    """
    asked = settings.max_connections
    per_caller = settings.files_per_caller
    needed = asked * per_caller + _RESERVED
    limit = _raise_limit(needed)
    if limit >= needed:
        return ConnectionLimit(asked, f"more than {asked} connections are open: try later")
    reserved = min(_RESERVED, max(_LEAST_RESERVED, limit // 4))
    fitting = min(asked, (limit - reserved) // per_caller)
    if fitting < min(asked, _FEWEST):
        least = _LEAST_RESERVED + per_caller * min(asked, _FEWEST)
        raise SystemExit(f"open files: the limit is {limit}, at least {least} are needed")
    if fitting < asked:
        get_logger().warning(
            "limit on open files is low: fewer connections than MAX_CONNECTIONS are accepted",
            open_files=limit,
            needed=needed,
            max_connections=asked,
            accepted=fitting,
            to_next_service=fitting * settings.INNER_CONNECTIONS,
            other_files=reserved,
        )
    return ConnectionLimit(
        fitting,
        f"open files: the limit of {limit} leaves room for {fitting} connections, "
        "and more are open: try later",
    )


def _raise_limit(needed: int) -> int:
    """Raise the soft limit, often 1024, to `needed` or to the hard limit; return what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return needed
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft
