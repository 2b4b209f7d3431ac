"""A process whose first two runs of OpenVINO happen at the same moment: it ends, or hangs."""

from __future__ import annotations

import sys
from pathlib import Path
from threading import Barrier, Thread

import numpy as np

from elastic_yolo.detector.engines.base import Engine
from elastic_yolo.detector.engines.load import load_openvino
from elastic_yolo.detector.model import read_model

THREADS = 2


def main() -> None:
    """Run the model of the first argument in two streams."""
    # As often as possible, so that few processes are enough to meet.
    sys.setswitchinterval(1e-6)
    streams = load_openvino(read_model(Path(sys.argv[1])), "fp32", THREADS, None).split(THREADS)
    together = Barrier(THREADS)

    def work(engine: Engine) -> None:
        together.wait()
        engine.execute(np.zeros((1, 32, 32, 3), np.uint8))

    threads = [Thread(target=work, args=(stream,)) for stream in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
