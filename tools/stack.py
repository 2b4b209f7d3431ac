"""Run the three services on loopback until Ctrl-C: `make up`."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from elastic_yolo.lab.processes.stack import DEMO_MODEL, Stack, StackError, taken_ports
from elastic_yolo.tiers import PORTS

_POLL_S = 0.05


def _model_path(text: str) -> Path | str:
    """Return an absolute path: the services run in another folder than the caller."""
    scheme, colon, path = text.partition("store:")
    return f"{colon}{Path(path).resolve()}" if colon and not scheme else Path(text).resolve()


def main() -> None:
    """Run the stack until Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.stack",
        description="Run the three services on loopback.",
    )
    parser.add_argument(
        "--model",
        type=_model_path,
        default=DEMO_MODEL,
        help="model folder, or store:FOLDER/NAME@CHANNEL (default: models/demo)",
    )
    parser.add_argument(
        "--inference", type=int, default=1, metavar="N", help="inference processes (default: 1)"
    )
    arguments = parser.parse_args()
    if arguments.inference < 1:
        parser.error("--inference: at least one")
    if taken := taken_ports(arguments.inference):
        sys.exit(f"port {taken[0]} is in use: stop the process that listens there, then try again")
    stopped = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopped
        stopped = True

    # Ctrl-C reaches the children through the terminal; SIGTERM reaches this process only.
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    try:
        model, copies = arguments.model, arguments.inference
        with Stack(model=model, ports=PORTS, copies=copies) as stack:
            print(f"\nThe web page: {stack.web.url}/ (Ctrl-C stops everything)\n", flush=True)
            while not stopped and stack.serves():
                time.sleep(_POLL_S)
    except StackError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
