"""Start the services, send every picture of client/images, stop them: `make demo`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from elastic_yolo.lab.processes.stack import ROOT, Stack, StackError

OUTPUT = ROOT / "demo-output"


def main() -> int:
    """Return the client's exit status: 0 if every picture got a valid response."""
    with tempfile.TemporaryDirectory(prefix="elastic-yolo-") as logs:
        try:
            print("starting inference, preprocess and web on loopback ...", flush=True)
            with Stack(logs=Path(logs)) as stack:
                print(f"ready: {stack.web.url}", flush=True)
                command = [
                    sys.executable,
                    str(ROOT / "client" / "client.py"),
                    "--url",
                    stack.web.url,
                    "--all",
                    "--save",
                    str(OUTPUT),
                ]
                status = subprocess.run(command, check=False).returncode  # noqa: S603
        except StackError as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
    print(f"pictures with boxes: {OUTPUT.relative_to(ROOT)}/")
    return status


if __name__ == "__main__":
    sys.exit(main())
