"""A consumer of a folder: prints the id and the deliveries of each picture, then moves it to done/.

folder_consumer.py FOLDER CLAIM_AFTER_S; stops before the first acknowledgement of a picture whose
name begins with `stop`.
"""

from __future__ import annotations

import os
import signal
import sys

from elastic_yolo.stream.folder.source import FolderSource

if __name__ == "__main__":
    source = FolderSource(sys.argv[1], float(sys.argv[2]))
    while True:
        for message in source.receive(2, 0.2):
            print(message.id, message.deliveries, flush=True)  # noqa: T201  # the test reads it
            if message.id.startswith("stop") and message.deliveries == 1:
                os.kill(os.getpid(), signal.SIGSTOP)
            source.acknowledge([message])
