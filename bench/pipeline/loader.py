"""The process of the load client, which gets its tasks as JSON lines on standard input.

A task is `{"target": {...}, "picture": PATH, "load": {...}}`; its result has every request and the
client's CPU time. The result of a task without a load is the detections of the first response.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from elastic_yolo.lab.load.client import Client, Sample, Schedule, first_response
from elastic_yolo.lab.load.expected import Expected, WrongResponse
from elastic_yolo.lab.load.wire import Target, UnsupportedResponse

_FAILURES = (WrongResponse, UnsupportedResponse, OSError, TimeoutError)


def main() -> None:
    """Run tasks until standard input ends."""
    # The first response of a target is the expected one from then on.
    known: dict[str, Expected] = {}
    for line in sys.stdin:
        task = json.loads(line)
        picture = Path(task["picture"]).read_bytes()
        try:
            answer = uvloop.run(_serve(task, picture, known))
        except* _FAILURES as group:
            error = next(iter(group.exceptions))
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


async def _serve(
    task: dict[str, Any], picture: bytes, known: dict[str, Expected]
) -> dict[str, Any]:
    target = Target(**task["target"])
    if target.url not in known:
        known[target.url] = await first_response(target, picture)
    expected = known[target.url]
    if task.get("load") is None:
        return {"data": expected.data}
    client = Client(target, picture, expected)
    cpu, started = time.process_time(), time.perf_counter()
    try:
        samples = await _run(client, task["load"])
    finally:
        client.close()
    return {
        "samples": samples,
        "seconds": time.perf_counter() - started,
        "cpu_s": time.process_time() - cpu,
    }


async def _run(client: Client, load: dict[str, Any]) -> list[Sample]:
    if "concurrency" in load:
        return await client.closed_loop(load["concurrency"], load["seconds"])
    return await client.open_loop(Schedule(**load))


if __name__ == "__main__":
    main()
