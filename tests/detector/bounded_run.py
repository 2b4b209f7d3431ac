"""Read model folders in processes with resource limits: `python -m tests.detector.bounded_run`.

A folder's path comes in as a line; out goes a line of JSON with `cpu_s`, what reading took, and
`refused`, the message of the ModelError, or `crashed`, anything else, or neither if all is well.
Each folder is read in a forked process, so that imports run once and do not count.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.graph import build_graph
from elastic_yolo.detector.model import read_model

MOST_BYTES = 200_000_000
# The tests assert 1 s; this limit ends a process that would not end by itself.
MOST_CPU_S = 2


def main() -> None:
    """Print one result for each line of stdin."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _read(Path(line.rstrip("\n")))
        _, status = os.waitpid(child, 0)
        if status:
            print(json.dumps({"crashed": f"wait status {status}"}), flush=True)


def _read(folder: Path) -> None:
    """Print the result and end the process without the interpreter's exit handlers."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_S, MOST_CPU_S))
    answer: dict[str, object] = {}
    start = time.process_time()
    try:
        model = read_model(folder)
        build_graph(model.network, model.read_weights())
    except ModelError as error:
        answer["refused"] = str(error)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the answer
        answer["crashed"] = repr(error)
    answer["cpu_s"] = time.process_time() - start
    print(json.dumps(answer), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
