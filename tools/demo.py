"""Serve a model, send every sample picture that suits it, stop: `make demo`."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT

OUTPUT = ROOT / "demo-output"
_CLIENT = ROOT / "client" / "client.py"


def main() -> int:
    """Return 0 if every picture got a valid response."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.demo", description="Serve a model and send the sample pictures."
    )
    parser.add_argument("model", nargs="?", default=str(DEMO_MODEL), metavar="MODEL")
    model = parser.parse_args().model
    # fp32: the boxes are the same on every machine.
    command = [sys.executable, "-m", "elastic_yolo.cli", "serve", "--json", "--port=0"]
    environment = {"PRECISION": "fp32", **os.environ}
    with subprocess.Popen(  # noqa: S603  # our own program
        [*command, "--", model], stdout=subprocess.PIPE, env=environment, text=True
    ) as serving:
        assert serving.stdout is not None  # noqa: S101  # a pipe
        try:
            # Empty if the start failed, which it has reported itself.
            line = serving.stdout.readline()
            status = _send(json.loads(line)) if line else 1
        except KeyboardInterrupt:
            status = 1
        finally:
            # Ctrl-C has reached it already, and a second signal would kill the services.
            if serving.poll() is None and sys.exception() is None:
                serving.send_signal(signal.SIGTERM)
    return serving.returncode or status


def _send(served: dict[str, str | None]) -> int:
    """Send the pictures and return the client's exit status."""
    pictures = served["pictures"]
    if pictures is None:
        print(f"demo: no sample pictures suit {served['model']}: see client/", file=sys.stderr)
        return 1
    print(f"serving {served['model']} on {served['web']}", flush=True)
    # A former run's, perhaps of another model.
    shutil.rmtree(OUTPUT, ignore_errors=True)
    arguments = ["--url", str(served["web"]), "--pictures", pictures, "--all"]
    status = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, str(_CLIENT), *arguments, "--save", str(OUTPUT)], check=False
    ).returncode
    print(f"pictures with boxes: {_shorten(OUTPUT)}/", flush=True)
    return status


def _shorten(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    sys.exit(main())
