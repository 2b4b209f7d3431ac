"""The services' log files: new lines as they are written, as text for people."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A log has one line for each picture: without a limit a long run would fill the disk.
MAX_LOG_BYTES = 50_000_000
# Of a burst that is longer, the first lines are left out.
_MAX_READ_BYTES = 1_000_000
_MAX_LINE = 400
_NOTABLE_LEVELS = frozenset({"warning", "error", "critical"})
# Fields that people do not need, or that the text has already.
_HIDDEN = frozenset({"event", "level", "timestamp", "service", "digest", "trace_id", "span_id"})


@dataclass
class LogFollower:
    """Reads what a process appends to its log, and empties a log that has become too large."""

    path: Path
    max_bytes: int = MAX_LOG_BYTES
    _offset: int = 0

    def read_events(self) -> list[dict[str, Any]]:
        """Return the log's new complete JSON lines; others, such as tracebacks, are skipped."""
        try:
            with self.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                self._offset = max(self._offset, size - _MAX_READ_BYTES)
                file.seek(self._offset)
                text = file.read(_MAX_READ_BYTES)
        except FileNotFoundError:
            return []
        complete = text.rpartition(b"\n")[0]
        self._offset += len(complete) + bool(complete)
        if size > self.max_bytes:
            # Safe while the process writes: it appends.
            os.truncate(self.path, 0)
            self._offset = 0
        return [event for line in complete.splitlines() if (event := _parse(line)) is not None]


def notable(event: dict[str, Any], process: str) -> str | None:
    """Return an event of a process that a person should see, as one line.

    These are warnings, and a switch of precision.
    """
    if event["event"] == "precision switched":
        return _describe_switch(event, process)
    if event["event"] == "log lines held back":
        return _describe_held_back(event)
    return describe_event(event) if event.get("level") in _NOTABLE_LEVELS else None


def _describe_switch(event: dict[str, Any], process: str) -> str:
    """Return the event of `services/inference/measuring/search.py` as a sentence."""
    text = f"{process} now runs in {event['precision']} (was {event['before']})"
    facts = []
    if event.get("ms") and event.get("before_ms"):
        facts.append(f"{event['before_ms'] / event['ms']:.1f} times as fast")
    if event.get("loss") is not None:
        # 0.0 instead of -0.0, and no gain that a few pictures cannot show.
        facts.append(f"loses {max(0.0, 100 * event['loss']):.1f} points of mAP")
    return f"{text}: {', '.join(facts)}" if facts else text


def _describe_held_back(event: dict[str, Any]) -> str:
    """Return the event of `services/common/observe/log_limit.py` as a sentence."""
    service, kind = event.get("service", "?"), event.get("kind", "")
    return f"{service}: {event.get('lines')} more in {event.get('period_s'):g} s: {kind}"


def describe_event(event: dict[str, Any]) -> str:
    """Return an event as one line: `inference: name not resolved (peer=web)`."""
    facts = ", ".join(f"{name}={value}" for name, value in event.items() if name not in _HIDDEN)
    text = f"{event.get('service', '?')}: {event['event']}" + (f" ({facts})" if facts else "")
    line = " ".join(text.split())
    return line if len(line) <= _MAX_LINE else f"{line[: _MAX_LINE - 3]}..."


def describe_line(line: str) -> str:
    """Return a line of a log for people: that of an event without JSON, any other unchanged."""
    event = _parse(line.encode())
    return line if event is None else describe_event(event)


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and "event" in event else None
