"""Parse the command line, run one command, turn errors into one line and an exit status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from cli import bench, convert, detect, verify
from detector.errors import DetectorError
from picture.errors import PictureError

# 0 done, 1 the work failed, 2 wrong usage (argparse's own).
FAILED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `elastic-yolo` and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="elastic-yolo", description="Object detection with Darknet's weights."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (detect, verify, convert, bench):
        command.add_parser(commands)
    parsed = parser.parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
    except (DetectorError, PictureError, OSError) as error:
        print(f"elastic-yolo: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("elastic-yolo: stopped", file=sys.stderr)
        return FAILED
    return status


if __name__ == "__main__":
    sys.exit(main())
