"""SIGKILL process 1 of a container from outside: `python kill.py CONTAINER_ID`.

It runs in a pod on the container's node that sees the node's processes (hostPID): within its own
PID namespace, a container's process 1 ignores SIGKILL. Uses the standard library only, since its
text is passed to the pod.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path


def find_main_process(proc: Path, container: str) -> int:
    """Return the PID, in the namespace of `proc`, of process 1 of a container; raises LookupError.

    Its cgroup's path has the container's id, with every container runtime. The last number of NSpid
    is the PID in its own namespace.
    """
    found = [
        int(folder.name)
        for folder in proc.iterdir()
        if folder.name.isdigit() and _is_main_process(folder, container)
    ]
    if len(found) != 1:
        raise LookupError(f"{len(found)} processes are process 1 of {container}: {found}")
    return found[0]


def _is_main_process(folder: Path, container: str) -> bool:
    try:
        cgroup, status = (folder / "cgroup").read_text(), (folder / "status").read_text()
    except OSError:
        # It has ended.
        return False
    numbers = [line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")]
    return container in cgroup and bool(numbers) and numbers[0][1:] != [] and numbers[0][-1] == "1"


if __name__ == "__main__":
    os.kill(find_main_process(Path("/proc"), sys.argv[1]), signal.SIGKILL)
