"""Short ways to write pods and their metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from elastic_yolo.lab.autoscaler.pods import Pod, Usage

NOW = 600.0
LONG_AGO = -1000.0


def pods(
    number: int,
    *,
    requests: Sequence[int] = (),
    unready: Sequence[int] = (),
    new: Sequence[int] = (),
    phases: Mapping[int, str] | None = None,
    deleting: Sequence[int] = (),
) -> list[Pod]:
    """Return pods with a CPU request of one each; exceptions are given by pod number."""
    return [
        Pod(
            str(one),
            {"cpu": requests[one] if requests else 1000},
            (phases or {}).get(one, "Running"),  # type: ignore[arg-type]
            deleting=one in deleting,
            started_at=NOW if one in new else LONG_AGO,
            ready=one not in unready,
            ready_changed_at=NOW if one in new else LONG_AGO,
        )
        for one in range(number)
    ]


def usages(*levels: int, at: float = 0.0, window_s: float = 60.0) -> dict[str, Usage]:
    """Return the usage of the first pods, in thousandths."""
    return {str(one): Usage(level, at, window_s) for one, level in enumerate(levels)}
