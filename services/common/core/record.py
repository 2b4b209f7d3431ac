"""What remains of a request that is over: metrics, a log line, the end of its trace."""

from __future__ import annotations

from http import HTTPStatus

from services.common.observe.log_limit import LogLimit
from services.common.observe.logs import get_logger
from services.common.observe.telemetry import Metrics
from services.common.request.context import RequestContext

CALLER_LEFT = 499
"""nginx's status for a caller that closed the connection before the response began."""
# Logged at debug level only: Kubernetes requests them every few seconds.
_QUIET = frozenset(
    {"/livez", "/readyz", "/health/ping", "/metrics", "/grpc.health.v1.Health/Check"}
)
# Anyone may request it without end. Its failures are logged.
_STATUS = "/health/status"
# Characters of a path or a detail in a log line; a caller chooses some of them.
_MAX_TEXT = 300


class Recorder:
    """Counts, logs and traces requests that are over."""

    def __init__(self, metrics: Metrics) -> None:
        """Take the metrics of the service."""
        self._metrics = metrics
        self._log_limit = LogLimit()

    def record(
        self, context: RequestContext, *, method: str, path: str, route: str | None, status: int
    ) -> None:
        """Record a request; `route` is the pattern of its path, or None if there is no such route.

        `method` must be one of a few words, whatever a caller sends.
        """
        elapsed_ms = context.timings.elapsed_ms()
        self._metrics.count_request(route or "(no route)", method, status, elapsed_ms / 1000)
        self._metrics.count_phases(context.timings.own_phases())
        if context.problem is not None:
            self._metrics.count_problem(context.problem)
        failed = status >= HTTPStatus.BAD_REQUEST
        failure = _describe_failure(context, status) if failed else {}
        if failed:
            # Under overload a line for each refusal would cost more than the refusal.
            kind = str(status), failure["reason"], failure.get("endpoint", "")
            quiet = route in _QUIET or not self._log_limit.passes("request", *kind)
        else:
            quiet = route in _QUIET or route == _STATUS
        log = get_logger().debug if quiet else get_logger().info
        log(
            "request",
            method=method,
            path=path[:_MAX_TEXT],
            status=status,
            ms=round(elapsed_ms, 1),
            uid=context.uid,
            **failure,
        )
        if context.trace is not None:
            context.trace.end(route, status)


def _describe_failure(context: RequestContext, status: int) -> dict[str, str]:
    """Return why a request failed: fields of its log line."""
    if status == CALLER_LEFT:
        return {"reason": "caller_left"}
    found = {"reason": context.problem or "unknown"}
    if context.detail is not None:
        found["detail"] = context.detail[:_MAX_TEXT]
    failure = context.peer_failure
    if failure is not None:
        found["peer"] = failure.peer
        found["endpoint"] = failure.endpoint
        found["peer_failure"] = failure.why[:_MAX_TEXT]
    return found
