"""The console command: runs one subcommand; errors become one line and an exit status."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from elastic_yolo import __version__
from elastic_yolo.cli.errors import CommandFailed, describe_error
from elastic_yolo.detector.errors import DetectorError
from elastic_yolo.extras import MissingPackage, naming_extra
from elastic_yolo.picture.errors import PictureError
from elastic_yolo.reading import STDOUT, naming

# 0 done, 1 the work failed, 2 wrong usage (argparse's own).
FAILED = 1
COMMANDS = {
    "serve": "run the services on this machine until Ctrl-C",
    "detect": "find objects in pictures",
    "batch": "find objects in many pictures; goes on where a killed run ended",
    "stream": "find objects in pictures as they arrive",
    "models": "list and pull the models of the zoo",
    "verify": "check a model folder",
    "compare": "show where this detector and another one differ on pictures",
    "convert": "quantise and measure for the services, or write ONNX or OpenVINO files",
    "provision": "fill and maintain a model store from models.yaml",
    "api-key": "make a key for a client of the web service",
    "doctor": "explain why manifests will not deploy or scale; check this machine",
    "bench": "measure engines, precisions and batch sizes",
    "hpa-lab": "run or simulate the autoscalers without a cluster",
}
# The extra with the packages of a command, if it is not `detect`.
_EXTRAS = {"provision": "provision", "batch": "batch", "stream": "stream"}


class _Parser(argparse.ArgumentParser):
    """Says what is wrong first, without a screen of all options; subcommands have it too."""

    def error(self, message: str) -> NoReturn:
        """Print the mistake and end the process with status 2."""
        self.exit(2, f"usage: {self.prog} ... (see --help)\n{self.prog}: error: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `elastic-yolo` and return its exit status."""
    _open_streams()
    _heed_sigterm()
    try:
        try:
            return _run(sys.argv[1:] if arguments is None else arguments)
        finally:
            # A failure while the interpreter exits could not be handled.
            with naming(STDOUT):
                print(end="", flush=True)
    except BrokenPipeError:
        _forget_output()
    except (CommandFailed, DetectorError, PictureError, MissingPackage, OSError) as error:
        print(f"elastic-yolo: {describe_error(error)}", file=sys.stderr)
    except KeyboardInterrupt:
        print("elastic-yolo: stopped", file=sys.stderr)
    return FAILED


def _run(arguments: Sequence[str]) -> int:
    parser = _Parser(prog="elastic-yolo", description="Object detection with Darknet's weights.")
    parser.add_argument("--version", action="version", version=f"elastic-yolo {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    command = next((name for name in arguments[:1] if name in COMMANDS), "elastic-yolo")
    for name, summary in COMMANDS.items():
        if name != command:
            commands.add_parser(name, help=summary)
            continue
        # Importing a command loads engines, which takes a part of a second.
        with naming_extra(name, _EXTRAS.get(name, "detect")):
            _import(name).add_parser(commands)
    parsed = parser.parse_args(arguments)
    with naming_extra(command, _EXTRAS.get(command, "detect")):
        status: int = parsed.run(parsed)
    return status


def _import(command: str) -> Any:
    return import_module(f"elastic_yolo.cli.{command.replace('-', '_')}")


def _heed_sigterm() -> None:
    """Let SIGTERM end the process also as process 1 of a container.

    For process 1 the kernel ignores signals without a handler, and commands that have one set it
    only when their imports are done: a container that is stopped as it starts would run on until
    it is killed.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def _open_streams() -> None:
    """Replace a standard stream that was closed when the program started, as by `2>&-`."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115


def _forget_output() -> None:
    """Discard unwritten output: its reader, such as `head`, has closed the pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


if __name__ == "__main__":
    sys.exit(main())
