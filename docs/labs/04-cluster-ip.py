"""A ClusterIP for lab 4: forwards each new connection to the next pod, whatever is sent over it.

Usage: 04-cluster-ip.py PORT POD-PORT [POD-PORT ...]
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from elastic_yolo.lab.web_service import WebService


async def forward(port: int, pods: Sequence[int]) -> None:
    """Listen on a port, and forward its connections to those pods that accept them."""
    service = WebService(lambda: pods)
    await service.start(port)
    try:
        await asyncio.Event().wait()
    finally:
        await service.close()


if __name__ == "__main__":
    own, *others = (int(one) for one in sys.argv[1:])
    try:
        asyncio.run(forward(own, others))
    except KeyboardInterrupt:
        sys.exit(0)
