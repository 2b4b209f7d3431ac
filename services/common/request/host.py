"""The name of the machine, container or pod that this process runs in."""

from __future__ import annotations

import os
import socket
from functools import cache


@cache
def host_name() -> str:
    """Return HOSTNAME, which Kubernetes sets to the pod's name, or else the machine's own name.

    Several services on one machine may each be given a name by that variable.
    """
    return os.environ.get("HOSTNAME") or socket.gethostname()
