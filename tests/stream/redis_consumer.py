"""A consumer process that receives, says what, and keeps it in hand until it is killed.

python -m tests.stream.redis_consumer ADDRESS CLAIM_AFTER_S
"""

from __future__ import annotations

import sys
import time

from elastic_yolo.stream.redis_streams import RedisSource


def main(address: str, claim_after_s: str) -> None:
    """Receive for ever."""
    source = RedisSource.open(address, float(claim_after_s))
    while True:
        for message in source.receive(10, 1):
            sys.stdout.write(f"{message.id} {message.deliveries}\n")
            sys.stdout.flush()
        time.sleep(0.001)


if __name__ == "__main__":
    main(*sys.argv[1:])
