"""The program of a hook's process: runs the metrics.py of a model folder, one call per picture.

Run by hook_process.py as `python -I hook_program.py FOLDER`, with a socket as stdin and stdout. It
imports only the standard library, and no module of the service.

Protocol, one JSON document per line: after the start the program sends {"ready": true}; then, for
each line with the detections of a picture, {"values": ...}, what the hook returned. Instead of both
it sends {"error": "..."} if the file or the call fails.
"""

from __future__ import annotations

import json
import os
import resource
import runpy
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, cast

Hook = Callable[[Any], Any]

FILE = "metrics.py"
MAX_MEMORY_BYTES = 512 * 2**20
# The service kills the process earlier. This ends a hook that hangs after the service has died.
_ALARM_S = 60


def main() -> None:
    """Load the hook, then serve calls until the service closes the socket."""
    with os.fdopen(os.dup(0), "rb") as calls, os.fdopen(os.dup(1), "wb", 0) as replies:
        # What the hook prints must not get between the replies.
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        loaded: dict[str, Hook] = {}
        replies.write(_reply("ready", lambda: loaded.update(hook=_load(sys.argv[1]))))
        if loaded:
            for line in calls:
                replies.write(_reply("values", partial(_call, loaded["hook"], line)))


def _load(folder: str) -> Hook:
    hook = runpy.run_path(os.path.join(folder, FILE)).get("metrics")  # noqa: PTH118
    if not callable(hook):
        raise TypeError("expected a function metrics(found)")
    return cast("Hook", hook)


def _call(hook: Hook, line: bytes) -> Any:
    return hook(json.loads(line))


def _reply(key: str, call: Callable[[], Any]) -> bytes:
    signal.alarm(_ALARM_S)
    try:
        reply = json.dumps({key: call()})
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever the model's code raises
        reply = json.dumps({"error": f"{type(error).__name__}: {error}"[:500]})
    signal.alarm(0)
    return reply.encode() + b"\n"


if __name__ == "__main__":
    main()
